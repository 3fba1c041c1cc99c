//! The database over a log and tables in memory, with a writer of its own.

use super::*;
use bytes::Bytes;
use rowcast_core::limits::LARGE_DOCUMENT_BYTES;
use rowcast_core::policy::Writing;
use rowcast_core::schema::Source;
use rowcast_core::{Batch, Completion, NodeId};
use rowcast_store::{MemDisk, MemState, Options, Sink, StoreError, spawn};
use std::thread::JoinHandle;

/// A database nobody else knows of. Ends with its writer.
pub(crate) struct Home {
    pub(crate) db: Db,
    disk: MemDisk,
    state: Arc<MemState>,
    writer: Option<JoinHandle<()>>,
}

struct Route(Completions);

impl Sink for Route {
    fn committed(&mut self, _: Option<Arc<Batch>>, completions: Vec<(Origin, Vec<Completion>)>) {
        for (origin, completions) in completions {
            if origin == HOME {
                self.0.complete(completions);
            }
        }
    }

    fn failed(&mut self, error: StoreError) {
        panic!("{error}");
    }
}

const HOME: Origin = Origin(77);

impl Home {
    /// An empty database.
    pub(crate) fn new() -> Home {
        Home::with_queue(64 * 1024 * 1024)
    }

    /// The same with a queue of that many bytes before the writer.
    pub(crate) fn with_queue(bytes: usize) -> Home {
        Home::open(MemDisk::new(1), Arc::new(MemState::new(1 << 20)), bytes)
    }

    fn open(disk: MemDisk, state: Arc<MemState>, queue_bytes: usize) -> Home {
        let options = Options { node: Some(NodeId(7)), ..Options::default() };
        let opened = Store::open_with(Arc::new(disk.clone()), Arc::clone(&state) as _, &options, now_ms());
        let (store, writer) = opened.unwrap_or_else(|error| panic!("{error}"));
        let queue = Queue::new(queue_bytes, Box::new(|_| {}));
        let db = Db::new(store, queue.clone(), HOME, Durability::Sync).expect("threads");
        let writer = Some(spawn(writer, queue, Box::new(Route(db.completions()))));
        Home { db, disk, state, writer }
    }

    /// Replaces the tables by those of a schema.
    pub(crate) async fn declare(&self, schema: &str) {
        let tables = self.db.number(catalog(schema)).await.expect("numbered");
        self.db.set_tables(tables);
    }

    /// Stops it in good order and starts it again.
    fn restart(mut self) -> Home {
        self.close();
        Home::open(self.disk.clone(), Arc::clone(&self.state), 64 * 1024 * 1024)
    }

    fn close(&mut self) {
        self.db.shared.queue.close();
        if let Some(writer) = self.writer.take() {
            writer.join().expect("the writer ended in good order");
        }
    }

    /// Leaves its disk no room to write, or gives it back.
    pub(crate) fn limit_disk(&self, capacity: Option<u64>) {
        self.disk.set_capacity(capacity);
    }

    pub(crate) fn table(&self, name: &str) -> TableRef {
        let tables = self.db.tables();
        let table = tables.catalog().exported(name).expect("declared and exported");
        TableRef::declared(&tables, table)
    }

    async fn get(&self, table: &str, key: &str) -> Option<String> {
        let stored = self.db.get(&self.table(table).record(key).expect("a key")).await.expect("read");
        stored.map(|stored| String::from_utf8_lossy(stored.record().payload).into_owned())
    }

    async fn put(&self, table: &str, key: &str, json: &str) -> Result<Written, DbError> {
        self.db
            .put(&self.table(table).record(key).expect("a key"), payload(json), Condition::default(), Writing::free())
            .await
    }

    /// What the log says after `after`: kind and payload.
    async fn log(&self, after: Sequence) -> Vec<String> {
        let page = self.db.read(move |store| store.read_log(after, usize::MAX)).await.expect("read").expect("read");
        let mut lines = Vec::new();
        for entry in page.batches.iter().flat_map(|batch| batch.entries().collect::<Vec<_>>()) {
            let payload = String::from_utf8_lossy(entry.change.payload).into_owned();
            lines.push(format!("{:?} {} {payload}", entry.change.kind, entry.change.key.escape_ascii()));
        }
        lines
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close();
        }
    }
}

fn catalog(schema: &str) -> Catalog {
    Catalog::new(Schema::parse(&[Source::new("schema.graphql", schema)]).expect("a schema"))
}

fn payload(text: &str) -> Payload {
    Payload { bytes: Bytes::copy_from_slice(text.as_bytes()), content_type: None }
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

const DOGS: &str = "type Dog @table @export { id: ID @id name: String! }";
const COUNTERS: &str = "type Counter @table @export { id: Int @id n: Int }";

#[test]
fn a_table_keeps_its_number_when_it_is_gone_and_comes_back() {
    run(async {
        let home = Home::new();
        let cats = "type Cat @table @export { id: ID @id }";
        home.declare(DOGS).await;
        let dog = home.table("Dog").id();
        assert_eq!(dog, TableId::FIRST_DECLARED);
        home.put("Dog", "1", r#"{"name":"Rex"}"#).await.expect("put");
        home.declare(cats).await;
        let cat = home.table("Cat").id();
        assert_ne!(cat, dog);

        let home = home.restart();
        home.declare(&format!("{cats} {DOGS}")).await;
        assert_eq!((home.table("Cat").id(), home.table("Dog").id()), (cat, dog));
        assert_eq!(home.get("Dog", "1").await.as_deref(), Some(r#"{"id":"1","name":"Rex"}"#));
        let renamed = r#"type Hound @table(table: "Dog") @export { id: ID @id }"#;
        home.declare(renamed).await;
        assert_eq!(home.table("Hound").id(), dog);
        home.declare(r#"type Dog @table(database: "other") @export { id: ID @id }"#).await;
        assert_ne!(home.table("Dog").id(), dog);
    });
}

#[test]
fn numbers_are_given_out_by_one_at_a_time() {
    run(async {
        let home = Home::new();
        let turn = home.db.shared.numbering.turn().expect("nobody else's turn");
        assert!(matches!(home.db.number(catalog(DOGS)).await, Err(DbError::Busy)));
        drop(turn);
        assert!(home.db.number(catalog(COUNTERS)).await.is_ok());
    });
}

#[test]
fn a_record_whose_time_has_run_out_is_not_there() {
    run(async {
        let home = Home::new();
        home.declare("type Note @table @export { id: ID @id until: Long @expiresAt }").await;
        let written = home.put("Note", "1", r#"{"until":1000}"#).await.expect("put");
        assert!(written.created);
        assert_eq!(home.get("Note", "1").await, None);
        let place = home.table("Note").record("1").expect("a key");
        assert!(matches!(home.db.delete(&place, Condition::default()).await, Err(DbError::Absent)));
        assert!(home.put("Note", "1", r#"{"until":99999999999999}"#).await.expect("put").created);
        assert!(!home.put("Note", "1", r#"{"until":99999999999999}"#).await.expect("put").created);
        let page = home.db.walk(&home.table("Note"), None).next().await.expect("read").expect("a page");
        assert_eq!(page.records().count(), 1);
    });
}

#[test]
fn a_record_keeps_the_time_it_was_made_at() {
    run(async {
        let home = Home::new();
        home.declare("type Post @table @export { id: ID @id made: Long @createdTime at: Long @updatedTime }").await;
        home.put("Post", "1", "{}").await.expect("put");
        let before = home.get("Post", "1").await.expect("there");
        let then = now_ms();
        while now_ms() == then {} // The clock is what is looked at.
        home.put("Post", "1", r#"{"made":7,"at":8}"#).await.expect("put");
        let after = home.get("Post", "1").await.expect("there");
        let [before, after] =
            [before, after].map(|json| serde_json::from_str::<serde_json::Value>(&json).expect("JSON"));
        assert_eq!(before["made"], after["made"]);
        assert_ne!(before["at"], after["at"]);
        assert_ne!(after["made"], 7);
    });
}

#[test]
fn a_delete_of_nothing_and_a_failed_condition_write_nothing() {
    run(async {
        let home = Home::new();
        home.declare(DOGS).await;
        let written = home.put("Dog", "1", r#"{"name":"Rex"}"#).await.expect("put");
        let (there, missing) = (home.table("Dog").record("1").unwrap(), home.table("Dog").record("2").unwrap());
        assert!(matches!(home.db.delete(&missing, Condition::default()).await, Err(DbError::Absent)));
        let condition = Condition { matches: Some(Versions::These(vec![Sequence(999)])), ..Condition::default() };
        let refused = home.db.delete(&there, condition.clone()).await;
        assert!(matches!(refused, Err(DbError::Condition(Some(version))) if version == written.version), "{refused:?}");
        let refused = home.db.patch(&missing, Bytes::from_static(b"{}"), condition, Writing::free()).await;
        assert!(matches!(refused, Err(DbError::Condition(None))), "{refused:?}");
        let refused =
            home.db.patch(&there, Bytes::from_static(br#"{"name":null}"#), Condition::default(), Writing::free()).await;
        assert!(matches!(refused, Err(DbError::Refused { .. })), "{refused:?}");
        assert_eq!(home.log(written.version).await, [""; 0]);
        home.db.delete(&there, Condition { matches: Some(Versions::Any), ..Condition::default() }).await.expect("gone");
        assert_eq!(home.log(written.version).await, ["Delete \\x021 "]);
    });
}

#[test]
fn large_documents_are_taken_and_refused_like_small_ones() {
    run(async {
        let home = Home::new();
        home.declare("type Dog @table @export { id: ID @id name: String! age: Int made: Long @createdTime }").await;
        let long = "x".repeat(LARGE_DOCUMENT_BYTES);
        let json =
            |text: Option<String>| serde_json::from_str::<serde_json::Value>(&text.expect("there")).expect("JSON");
        let place = home.table("Dog").record("1").expect("a key");
        assert!(home.put("Dog", "1", &format!(r#"{{"name":"{long}"}}"#)).await.expect("put").created);
        let first = json(home.get("Dog", "1").await);
        assert_eq!(first["name"], long);

        let patch = Bytes::from(format!(r#"{{"name":"{long}y","age":3}}"#));
        let patched =
            home.db.patch(&place, patch.clone(), Condition::default(), Writing::free()).await.expect("patched");
        assert!(!patched.created);
        let second = json(home.get("Dog", "1").await);
        assert_eq!((&second["age"], &second["made"]), (&3.into(), &first["made"]));

        let condition = Condition { matches: Some(Versions::These(vec![Sequence(999)])), ..Condition::default() };
        let refused = home.db.patch(&place, patch.clone(), condition, Writing::free()).await;
        assert!(matches!(refused, Err(DbError::Condition(Some(version))) if version == patched.version), "{refused:?}");
        let refused = home.put("Dog", "1", &format!(r#"{{"name":"{long}","age":"old"}}"#)).await;
        assert!(matches!(refused, Err(DbError::Refused { .. })), "{refused:?}");
        assert_eq!(home.log(patched.version).await, [""; 0]);

        let many = [&*long, "Rex"].map(|name| payload(&format!(r#"{{"name":"{name}"}}"#)));
        let inserted = home.db.insert(&home.table("Dog"), &many, &Writing::free()).await.expect("inserted");
        assert_eq!(inserted.keys.len(), 2);
        let refused = home.db.insert(&home.table("Dog"), &[payload(&long)], &Writing::free()).await;
        assert!(matches!(refused, Err(DbError::Refused { .. })), "{refused:?}");
    });
}

#[test]
fn patches_of_a_large_document_at_once_are_all_in_it() {
    run(async {
        let home = Home::new();
        home.declare("type Bag @table @export { id: ID @id }").await;
        let long = "x".repeat(LARGE_DOCUMENT_BYTES);
        let mut patches = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (db, place) = (home.db.clone(), home.table("Bag").record("1").expect("a key"));
            let patch = Bytes::from(format!(r#"{{"n{number}":{number},"long":"{long}"}}"#));
            patches.spawn_local(async move { db.patch(&place, patch, Condition::default(), Writing::free()).await });
        }
        while let Some(patched) = patches.join_next().await {
            patched.unwrap().expect("patched");
        }
        let bag: serde_json::Value = serde_json::from_str(&home.get("Bag", "1").await.expect("there")).expect("JSON");
        (0..20).for_each(|number| assert_eq!(bag[format!("n{number}")], number));
    });
}

#[test]
fn events_pass_by_and_leave_no_record() {
    run(async {
        let home = Home::new();
        home.declare(DOGS).await;
        let table = home.table("Dog");
        let before = home.db.channel_event(&table, &payload("woof")).await.expect("sent");
        home.db.event(&table.record("9").unwrap(), &payload("")).await.expect("sent");
        assert_eq!(home.get("Dog", "9").await, None);
        assert_eq!(home.log(Sequence(before.0 - 1)).await, ["Message  woof", "Message \\x029 "]);
    });
}

#[test]
fn keys_are_made_where_none_is_said() {
    run(async {
        let home = Home::new();
        home.declare(&format!("{DOGS} {COUNTERS} type Note @table @export {{ id: Any @id }}")).await;
        let insert = async |table: &str, payloads: &[&str]| {
            let payloads: Vec<Payload> = payloads.iter().map(|text| payload(text)).collect();
            let inserted = home.db.insert(&home.table(table), &payloads, &Writing::free()).await?;
            Ok::<_, DbError>(inserted.keys.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(insert("Counter", &["{}", "{}"]).await.unwrap(), ["1", "2"]);
        assert!(matches!(
            insert("Counter", &["{}", r#"{"n":"x"}"#]).await,
            Err(DbError::Refused { item: Some(1), .. })
        ));
        home.put("Counter", "40", "{}").await.unwrap();
        assert_eq!(insert("Counter", &["{}", r#"{"id":7}"#, "{}"]).await.unwrap(), ["41", "7", "42"]);
        assert!(
            matches!(insert("Counter", &["{}", r#"{"id":7}"#]).await, Err(DbError::Exists { key }) if key == Key::Number(7))
        );
        assert!(matches!(insert("Counter", &[r#"{"id":8}"#, r#"{"id":8}"#]).await, Err(DbError::Exists { .. })));
        assert_eq!(insert("Counter", &["{}"]).await.unwrap(), ["43"]);
        home.put("Counter", "2147483647", "{}").await.unwrap();
        assert!(matches!(insert("Counter", &["{}"]).await, Err(DbError::NoNumberLeft)));

        // Text sorts behind numbers and must not hide them.
        for key in ["-5", "3", "900", "a", "z/y"] {
            home.put("Note", key, "{}").await.unwrap();
        }
        assert_eq!(insert("Note", &["{}"]).await.unwrap(), ["901"]);

        let keys = insert("Dog", &[r#"{"name":"a"}"#, r#"{"name":"b","id":null}"#]).await.unwrap();
        assert!(keys[0] < keys[1] && keys[0].len() == 36, "{keys:?}");
        assert!(matches!(insert("Dog", &[r#"{"name":"a","id":"a+b"}"#]).await, Err(DbError::Place { item: None, .. })));
        assert_eq!(home.get("Dog", &keys[0]).await.unwrap(), format!(r#"{{"id":"{}","name":"a"}}"#, keys[0]));
    });
}

#[test]
fn no_record_is_made_on_a_topic_of_another_table() {
    run(async {
        let home = Home::new();
        let schema = r#"
            type A @table @export(name: "a") { id: ID @id n: Int }
            type B @table @export(name: "a/b") @sealed { id: ID @id m: Int! }
            type Count @table @export(name: "count") { id: Int @id }
            type One @table @export(name: "count/1")
            type Three @table @export(name: "count/3", mqtt: false)
            type Plan @table { id: ID @id }
            type Inner @table @export(name: "Plan/b")
        "#;
        home.declare(schema).await;
        let insert = async |table: &str, payloads: &[&str]| {
            let payloads: Vec<Payload> = payloads.iter().map(|text| payload(text)).collect();
            let tables = home.db.tables();
            let table = tables.catalog().tables().iter().find(|it| *it.name == *table).expect("declared");
            let inserted = home.db.insert(&TableRef::declared(&tables, table), &payloads, &Writing::free()).await?;
            Ok::<_, DbError>(inserted.keys.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        for key in ["b", "b/", "b/9", "b/9/x"] {
            let json = format!(r#"{{"id":"{key}","n":1}}"#);
            let refused = insert("A", &[r#"{"n":1}"#, &json]).await;
            let Err(DbError::Place { error: PlaceError::Declared { table }, item: Some(1) }) = refused else {
                panic!("{key}: {refused:?}")
            };
            assert_eq!(&*table, "B", "{key}");
            assert!(home.table("a").record(key).is_err(), "{key}");
        }
        for key in ["bb", "x/b", "/b", "B/1"] {
            assert_eq!(insert("A", &[&format!(r#"{{"id":"{key}"}}"#)]).await.unwrap(), [key]);
        }
        assert_eq!(insert("B", &[r#"{"id":"b/9","m":1}"#]).await.unwrap(), ["b/9"]);
        assert_eq!(insert("Plan", &[r#"{"id":"b/9"}"#]).await.unwrap(), ["b/9"], "it has no topics");
        // Numbers that are made leave out those of others.
        assert_eq!(insert("Count", &["{}"]).await.unwrap(), ["2"]);
        assert_eq!(insert("Count", &["{}", "{}"]).await.unwrap(), ["5", "6"]);
        assert!(matches!(insert("Count", &[r#"{"id":3}"#]).await, Err(DbError::Place { item: None, .. })));
    });
}

#[test]
fn what_is_out_of_reach_is_counted() {
    run(async {
        let home = Home::new();
        let farm = r#"type Farm @table @export { id: ID @id }"#;
        home.declare(farm).await;
        let open = TableRef::open_topics(&home.db.tables());
        let put = async |place: RecordRef| {
            home.db.put(&place, payload("{}"), Condition::default(), Writing::free()).await.expect("put");
        };
        for topic in ["cat", "cat/1", "Cat/a/b", "cats/1", "x/cat", "bird/1", "cou"] {
            put(open.record(topic).unwrap()).await;
        }
        for key in ["1", "barn", "barn/1", "barn/stall/1", "barns/1"] {
            put(home.table("Farm").record(key).unwrap()).await;
        }
        let check = async |more: &str, expected: &[&str]| {
            let tables = home.db.number(catalog(&format!("{farm} {more}"))).await.expect("numbered");
            let found = home.db.out_of_reach(&tables).await.expect("read");
            let found: Vec<String> = found.iter().map(|records| records.to_string()).collect();
            let expected: Vec<String> = expected
                .iter()
                .map(|text| format!("{text}: kept, and out of reach until it has another name, by `@export(name: ..)`"))
                .collect();
            assert_eq!(found, expected, "{more}");
        };
        check("", &[]).await;
        check("type Dog @table @export", &[]).await;
        check("type Cat @table", &[]).await;
        check("type Cat @table @export", &["table `Cat` has the topics of 3 records of open topics"]).await;
        let cat = r#"type Cat @table @export(name: "Cat")"#;
        check(cat, &["table `Cat` has the topics of 1 record of open topics"]).await;
        let barn = r#"type Barn @table @export(name: "Farm/barn", mqtt: false)"#;
        check(barn, &["table `Barn` has the topics of 3 records of table `Farm`"]).await;
        check(
            &format!(r#"{barn} type Stall @table @export(name: "Farm/barn/stall") type Bird @table @export"#),
            &[
                "table `Barn` has the topics of 2 records of table `Farm`",
                "table `Stall` has the topics of 1 record of table `Farm`",
                "table `Bird` has the topics of 1 record of open topics",
            ],
        )
        .await;
        let one = r#"type Count @table @export { id: Int @id }"#;
        home.declare(&format!("{farm} {one}")).await;
        home.put("Count", "1", "{}").await.expect("put");
        let of_one = format!(r#"{one} type One @table @export(name: "Count/1")"#);
        check(&of_one, &["table `One` has the topics of 1 record of table `Count`"]).await;
        // However many there are, a few pages are read.
        for number in 0..6 {
            let documents: Vec<Payload> =
                (0..1000).map(|at| payload(&format!(r#"{{"id":"many/{number}/{at}"}}"#))).collect();
            home.db.insert(&home.table("Farm"), &documents, &Writing::free()).await.expect("put");
        }
        let many = r#"type Many @table @export(name: "Farm/many")"#;
        check(many, &["table `Many` has the topics of at least 4096 records of table `Farm`"]).await;
    });
}

#[test]
fn many_at_once_get_numbers_of_their_own() {
    run(async {
        let home = Home::new();
        home.declare(COUNTERS).await;
        let table = home.table("Counter");
        let mut inserts = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (db, table) = (home.db.clone(), table.clone());
            inserts
                .spawn_local(async move { db.insert(&table, &[payload("{}"), payload("{}")], &Writing::free()).await });
        }
        let mut keys: Vec<String> = Vec::new();
        while let Some(inserted) = inserts.join_next().await {
            keys.extend(inserted.unwrap().unwrap().keys.iter().map(ToString::to_string));
        }
        let distinct: std::collections::BTreeSet<i64> = keys.iter().map(|key| key.parse().unwrap()).collect();
        assert_eq!(distinct.into_iter().collect::<Vec<_>>(), (1..=200).collect::<Vec<i64>>());
    });
}

#[test]
fn a_full_queue_is_busy_and_nothing_waits_for_ever() {
    run(async {
        let home = Home::with_queue(2_000);
        home.declare(DOGS).await;
        let table = home.table("Dog");
        let mut puts = tokio::task::JoinSet::new();
        for number in 0..200 {
            let (db, place) = (home.db.clone(), table.record(&number.to_string()).unwrap());
            let dog = payload(&format!(r#"{{"name":"{}"}}"#, "x".repeat(500)));
            puts.spawn_local(async move { db.put(&place, dog, Condition::default(), Writing::free()).await });
        }
        let (mut done, mut busy) = (0, 0);
        while let Some(put) = puts.join_next().await {
            match put.unwrap() {
                Ok(_) => done += 1,
                Err(DbError::Busy) => busy += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(done > 0 && busy > 0, "{done} done, {busy} busy");
        home.put("Dog", "1", r#"{"name":"Rex"}"#).await.expect("there is room again");
    });
}

#[test]
fn a_text_names_a_record_or_says_why_not() {
    run(async {
        let home = Home::new();
        home.declare(&format!("{DOGS} {COUNTERS}")).await;
        let open = TableRef::open_topics(&home.db.tables());
        let check = |table: &TableRef, text: &str, expected: Option<&str>| {
            let found = table.record(text).ok().map(|place| place.key().to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        let (dog, counter) = (home.table("Dog"), home.table("Counter"));
        check(&dog, "a/b//c", Some("a/b//c"));
        check(&dog, "$x", Some("$x"));
        for text in ["", "a+b", "#", "a\0b", &"x".repeat(4097)] {
            check(&dog, text, None);
        }
        check(&counter, "007", Some("7"));
        for text in ["x", "1.5", "2147483648", "1/2"] {
            check(&counter, text, None);
        }
        for text in ["home/temp", "/", "$other/x", "dogs", "..", &"x".repeat(65_500)] {
            check(&open, text, Some(text));
        }
        for text in ["", "dog", "dog/1", "Dog/1", "counter/x", "$SYS/x", "$SYS", "$get/dog", "a/+", &"x".repeat(65_501)]
        {
            check(&open, text, None);
        }
        let place = open.record("a//b").unwrap();
        assert_eq!(open.decode_key(place.encoded()), Some(Key::Text("a//b".into())));
    });
}
