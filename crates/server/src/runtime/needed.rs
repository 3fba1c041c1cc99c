//! What the process does not go on without.

/// Ends the process when the thread that holds it panics: what that thread owned is in no known state, and starting
/// again from the log is the tested way out. Half a server would be worse than none.
pub struct NotWithout(pub &'static str);

impl Drop for NotWithout {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the {} ended with a panic; the server ends with it", self.0);
            std::process::exit(1);
        }
    }
}
