//! Mistakes in the program.

use super::*;

#[test]
fn who_asks_for_what_panics_is_told_and_nobody_else_hears_of_it() {
    with_server(async |server| {
        let mut stream = server.connect().await;
        let ask = |path: &str, close: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n");
        let requests = ask(&format!("/$admin/sessions?after={PANIC}"), "") + &ask("/health", "Connection: close\r\n");
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with("HTTP/1.1 500 ") && answers.contains("urn:rowcast:problem:internal"), "{answers}");
        assert!(!answers.contains("as it should"), "what went wrong is for the log: {answers}");
        assert!(answers.contains("HTTP/1.1 200 "), "the connection goes on: {answers}");
        assert_eq!(server.get("/$admin/sessions").await.status, 200);
    });
}

#[test]
fn a_piece_that_panics_ends_its_answer() {
    run(async {
        let mut body = Body::chunks(0, async |pieces| {
            assert_ne!(pieces, 1, "as it should");
            Ok(Some((bytes::Bytes::from_static(b"x"), pieces + 1)))
        });
        assert!(body.frame().await.is_some_and(|piece| piece.is_ok()));
        let broken = body.frame().await.unwrap().unwrap_err();
        assert!(broken.to_string().contains("as it should"), "{broken}");
        assert!(body.frame().await.is_none());
    });
}
