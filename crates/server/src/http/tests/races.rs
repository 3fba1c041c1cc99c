//! What must hold however requests cross each other.

use super::*;
use tokio::task::JoinSet;

#[test]
fn fifty_compare_and_set_increments_end_at_fifty() {
    with_server(async |server| {
        server.put("/counter/1", r#"{"n":0}"#).await;
        let address = server.address;
        let mut clients = JoinSet::new();
        for _ in 0..50 {
            clients.spawn_local(async move {
                let mut refused = 0;
                loop {
                    let read = exchange(address, "GET /counter/1", "", "").await;
                    let (_, head) = read.split_once("etag: ").unwrap();
                    let etag = head.split("\r\n").next().unwrap();
                    let n: u64 = read.rsplit_once("\"n\":").unwrap().1.trim_end_matches('}').parse().unwrap();
                    let condition = format!("If-Match: {etag}\r\n");
                    let put = exchange(address, "PUT /counter/1", &condition, &format!("{{\"n\":{}}}", n + 1)).await;
                    match &put[9..12] {
                        "204" => return refused,
                        "412" => refused += 1,
                        _ => panic!("{put}"),
                    }
                }
            });
        }
        let mut refused = 0;
        while let Some(client) = clients.join_next().await {
            refused += client.unwrap();
        }
        assert!(refused > 0, "nobody was in anybody's way");
        assert_eq!(server.get("/counter/1").await.json()["n"], 50);
    });
}

#[test]
fn one_of_many_makes_the_record() {
    with_server(async |server| {
        let mut clients = JoinSet::new();
        for number in 0..20 {
            let (address, body) = (server.address, format!("{{\"name\":\"{number}\"}}"));
            clients.spawn_local(async move { exchange(address, "PUT /dog/1", "If-None-Match: *\r\n", &body).await });
        }
        let mut statuses = Vec::new();
        while let Some(client) = clients.join_next().await {
            statuses.push(client.unwrap()[9..12].to_owned());
        }
        statuses.sort();
        assert_eq!((statuses[0].as_str(), &statuses[1..]), ("201", &vec!["412".to_owned(); 19][..]));
    });
}

#[test]
fn patches_of_different_attributes_all_stay() {
    with_server(async |server| {
        server.put("/dog/1", r#"{"name":"Rex"}"#).await;
        let mut clients = JoinSet::new();
        for number in 0..40 {
            let (address, body) = (server.address, format!("{{\"x{number}\":{number}}}"));
            clients.spawn_local(async move { exchange(address, "PATCH /dog/1", "", &body).await });
        }
        while let Some(client) = clients.join_next().await {
            assert_eq!(&client.unwrap()[9..12], "204");
        }
        let dog = server.get("/dog/1").await.json();
        assert!((0..40).all(|number| dog[format!("x{number}")] == number), "{dog}");
    });
}

#[test]
fn who_comes_when_it_is_full_is_asked_to_come_again() {
    run(async {
        let server = Server::over(Home::with_queue(2_000), |_| {}, Local::Trusted).await;
        let mut clients = JoinSet::new();
        let (mut busy, mut sent) = (0, 0);
        // The writer may be quick enough for the first crowds.
        while busy == 0 {
            for number in sent..sent + 200 {
                let (address, body) = (server.address, "x".repeat(500));
                clients.spawn_local(async move { exchange(address, &format!("PUT /blob/{number}"), "", &body).await });
            }
            sent += 200;
            while let Some(client) = clients.join_next().await {
                let answer = client.unwrap();
                match &answer[9..12] {
                    "201" => {}
                    "503" => {
                        busy += 1;
                        assert!(answer.contains("retry-after: 1\r\n") && answer.contains("problem:busy"), "{answer}");
                    }
                    _ => panic!("{answer}"),
                }
            }
        }
        assert_eq!(server.get("/blob/").await.json().as_array().unwrap().len(), sent - busy);
    });
}

#[test]
fn a_closing_server_answers_what_it_was_asked() {
    with_server(async |server| {
        let mut idle = server.connect().await;
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut buffer = [0; 1024];
        assert!(idle.read(&mut buffer).await.unwrap() > 0);
        let mut busy = server.connect().await;
        let head = "PUT /dog/1 HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n";
        busy.write_all(head.as_bytes()).await.unwrap();
        assert!(busy.read(&mut buffer).await.unwrap() > 0, "it waits for the body now");
        server.state.close();
        assert_eq!(idle.read(&mut buffer).await.unwrap(), 0, "an idle connection ends at once");
        busy.write_all(b"{\"name\":\"Rex\"}").await.unwrap();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    });
}

/// One request on a connection of its own.
async fn exchange(address: SocketAddr, head: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
