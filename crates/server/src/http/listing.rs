//! Many records in one answer: a JSON array, sent page by page as the peer takes it.

use super::auth::Asker;
use super::body::{Body, Broken};
use super::problem::{Kind, Problem};
use super::rest::{content_type, seen};
use super::{describe, path};
use crate::db::{DbError, Page, TableRef, Walk};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use rowcast_core::Record;
use rowcast_core::policy::{Rights, View};
use rowcast_core::validate::Format;
use rowcast_core::value::Key;
use serde::Deserializer;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::time::Duration;
use tokio::time::sleep;

/// Which of the records that are walked over are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    /// Records left out at the beginning.
    skip: u64,
    /// Records after that.
    take: u64,
}

impl Window {
    const ALL: Window = Window { skip: 0, take: u64::MAX };

    /// Reads `limit(n)` or `limit(from,to)`, all of a query that is understood so far. To skip records is to read
    /// them, so no more than `scan_records_max`.
    pub(super) fn parse(query: &str, scan_records_max: u64) -> Result<Window, Problem> {
        let query = path::decode_query(query)?;
        let mut window = None;
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let Some(arguments) = part.strip_prefix("limit(").and_then(|rest| rest.strip_suffix(')')) else {
                let detail = format!("`{part}` in the query is not understood yet; limit(n) and limit(from,to) are");
                return Err(Problem::new(Kind::NotAvailable, detail));
            };
            if window.replace(Window::of(arguments)?).is_some() {
                return Err(Problem::new(Kind::MalformedRequest, "there is more than one limit() in the query"));
            }
        }
        let window = window.unwrap_or(Window::ALL);
        if window.skip > scan_records_max {
            let detail = format!("limit() would skip more than the {scan_records_max} records a query may read");
            return Err(Problem::new(Kind::MalformedRequest, detail));
        }
        Ok(window)
    }

    /// Records that have to be walked over.
    pub(super) fn end(&self) -> u64 {
        self.skip.saturating_add(self.take)
    }

    fn of(arguments: &str) -> Result<Window, Problem> {
        let malformed =
            || Problem::new(Kind::MalformedRequest, format!("limit({arguments}) is not limit(n) or limit(from,to)"));
        let number = |text: &str| {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if is_plain { text.parse::<u64>().ok() } else { None }.ok_or_else(malformed)
        };
        let (from, to) = match arguments.split_once(',') {
            Some((from, to)) => (number(from.trim())?, number(to.trim())?),
            None => (0, number(arguments.trim())?),
        };
        let take = to.checked_sub(from).ok_or_else(malformed)?;
        Ok(Window { skip: from, take })
    }
}

/// An array of what `walk` comes by, within `window`; `first` is its first page. What can be sent at first is made
/// before this returns, so that what is wrong from the beginning is told as a status.
pub(super) async fn array(
    walk: Walk,
    first: Option<Page>,
    window: Window,
    rights: Rights,
    asker: Asker,
) -> Result<Body, Broken> {
    let (bytes, rest) = Listing { walk, window, rights, asker, page: first, begun: false }.next().await?;
    Ok(Body::chunks((Some(bytes), rest), |made| async {
        let (bytes, rest) = match made {
            (Some(bytes), rest) => (bytes, rest),
            (None, Some(listing)) => listing.next().await?,
            (None, None) => return Ok(None),
        };
        Ok(Some((bytes, (None, rest))))
    }))
}

/// An array on its way.
struct Listing {
    walk: Walk,
    /// What is still wanted.
    window: Window,
    /// Of whoever asked, when the page was read.
    rights: Rights,
    asker: Asker,
    /// Read and not yet written.
    page: Option<Page>,
    /// Whether an element is written.
    begun: bool,
}

impl Listing {
    /// The bytes of the next page that has any, and what is to be done after that, if anything.
    async fn next(mut self) -> Result<(Bytes, Option<Listing>), Broken> {
        let mut json = Vec::new();
        if !self.begun {
            json.push(b'[');
        }
        while self.window.take > 0 {
            let page = match self.page.take() {
                Some(page) => page,
                None => match self.read().await? {
                    Some(page) => page,
                    None => break,
                },
            };
            self.write(&page, &mut json)?;
            if json.len() > 1 && self.window.take > 0 {
                return Ok((json.into(), Some(self)));
            }
        }
        json.extend_from_slice(b"]\n");
        Ok((json.into(), None))
    }

    /// The next page. Half an answer cannot be taken back to be asked for again, so it waits while others are served.
    /// It may wait long for a peer that takes it slowly: what they may read by then is asked each time.
    async fn read(&mut self) -> Result<Option<Page>, Broken> {
        let page = loop {
            match self.walk.next().await {
                Err(DbError::Busy) => sleep(BUSY_PAUSE).await,
                read => break read.map_err(|error| Broken(error.to_string()))?,
            }
        };
        let rights = self.asker.rights().filter(|rights| rights.reads_from(self.walk.table().id()));
        self.rights = rights.ok_or_else(|| Broken("the right to read was taken away".to_owned()))?;
        Ok(page)
    }

    fn write(&mut self, page: &Page, json: &mut Vec<u8>) -> Result<(), Broken> {
        let table = self.walk.table();
        for (key, record) in page.records() {
            let key = table.decode_key(key).ok_or_else(|| Broken("a stored key is damaged".to_owned()))?;
            if table.taken_by(&key).is_some() {
                continue; // Kept, until the name is free again.
            }
            let topic = if table.is_open_topics() { key.to_string() } else { String::new() };
            let view = self.rights.view(table.id(), &topic);
            if view == View::Nothing {
                continue;
            }
            if self.window.skip > 0 {
                self.window.skip -= 1;
                continue;
            }
            if self.window.take == 0 {
                break;
            }
            self.window.take -= 1;
            if self.begun {
                json.extend_from_slice(b",\n");
            }
            self.begun = true;
            write_element(table, &key, &record, view, json);
        }
        Ok(())
    }
}

/// A record of a table with attributes is JSON as it is. One of any other need not be; it becomes an object: its key,
/// its content type if it has one, and `value`, or `base64` if it is neither JSON nor text.
fn write_element(table: &TableRef, key: &Key<'_>, record: &Record<'_>, view: View<'_>, json: &mut Vec<u8>) {
    if table.table().is_typed() {
        return json.extend_from_slice(&seen(record, view));
    }
    json.push(b'{');
    write_string(describe::key_name(table), json);
    json.push(b':');
    json.extend_from_slice(key.to_json().as_bytes());
    let content_type = content_type(record);
    if let Some(content_type) = content_type {
        json.extend_from_slice(b",\"contentType\":");
        write_string(content_type, json);
    }
    let is_json = Format::of(content_type) == Ok(Format::Json);
    match (serde_json::from_slice::<&RawValue>(record.payload), std::str::from_utf8(record.payload)) {
        (Ok(value), _) if is_json => {
            json.extend_from_slice(b",\"value\":");
            json.extend_from_slice(value.get().as_bytes());
        }
        (_, Ok(text)) => {
            json.extend_from_slice(b",\"value\":");
            write_string(text, json);
        }
        (_, Err(_)) => {
            json.extend_from_slice(b",\"base64\":");
            write_string(&BASE64.encode(record.payload), json);
        }
    }
    json.push(b'}');
}

fn write_string(text: &str, json: &mut Vec<u8>) {
    serde_json::to_writer(json, text).expect("a text is JSON, and memory takes it");
}

/// The elements of a JSON array, at most `elements_max` of them.
pub(super) fn elements(json: &[u8], elements_max: usize) -> Result<Vec<&RawValue>, Problem> {
    struct Elements(usize);

    impl<'de> Visitor<'de> for Elements {
        type Value = Option<Vec<&'de RawValue>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = sequence.next_element()? {
                if elements.len() == self.0 {
                    while sequence.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(None);
                }
                elements.push(element);
            }
            Ok(Some(elements))
        }
    }

    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let elements = deserializer.deserialize_seq(Elements(elements_max)).and_then(|elements| {
        deserializer.end()?;
        Ok(elements)
    });
    match elements {
        Ok(Some(elements)) => Ok(elements),
        Ok(None) => Err(Problem::new(Kind::BodyTooLarge, format!("an array has at most {elements_max} elements here"))),
        Err(error) => Err(Problem::new(Kind::MalformedBody, format!("the body is not JSON: {error}"))),
    }
}

/// What a listing in the middle leaves to others when there is too much to read.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_all_of_a_query_that_is_understood() {
        for (query, expected) in [
            ("", Some((0, u64::MAX))),
            ("&", Some((0, u64::MAX))),
            ("limit(10)", Some((0, 10))),
            ("limit(0)", Some((0, 0))),
            ("limit%285%2C15%29&", Some((5, 10))),
            ("limit(5, 5)", Some((5, 0))),
            ("limit(100,18446744073709551615)", Some((100, u64::MAX - 100))),
            ("limit(101,102)", None),
            ("limit(5,4)", None),
            ("limit()", None),
            ("limit(-1)", None),
            ("limit(+1)", None),
            ("limit(1,2,3)", None),
            ("limit(18446744073709551616)", None),
            ("limit(1)&limit(2)", None),
            ("limit(1)x", None),
            ("/limit(1)", None),
            ("Limit(1)", None),
            ("name=Rex", None),
            ("limit(1)&name=Rex", None),
            ("limit(1)|name=Rex", None),
            ("((((limit(1)))))", None),
            ("sort(name)", None),
            ("%", None),
        ] {
            let window = expected.map(|(skip, take)| Window { skip, take });
            assert_eq!(Window::parse(query, 100).ok(), window, "{query}");
        }
    }

    #[test]
    fn only_a_whole_array_has_elements() {
        let texts = |json: &str| {
            let elements = elements(json.as_bytes(), 3).ok()?;
            Some(elements.iter().map(|element| element.get().to_owned()).collect::<Vec<_>>())
        };
        let some = |expected: &[&str]| Some(expected.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(texts("[]"), some(&[]));
        assert_eq!(texts(" [ {\"a\" : [1]} , 1.10, \"x\" ]\n"), some(&["{\"a\" : [1]}", "1.10", "\"x\""]));
        for json in ["", "[", "[1", "[1,]", "[1] x", "[1][2]", "{}", "1", "[1,2,3,4]", "[1,2,3,4", "[\"\u{0}\"]"] {
            assert_eq!(texts(json), None, "{json}");
        }
        // How deep an element may nest is for its table to say; here it must not exhaust the stack.
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(texts(&format!("[{deep}]")), some(&[&deep]));
    }
}
