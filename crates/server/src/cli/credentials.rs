//! Where the client commands find user names and passwords that are not in their arguments, which everyone on the
//! machine can see.

use std::io::BufRead;

/// A variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first line of standard input, without its end.
pub(super) fn password_from_input() -> std::io::Result<Vec<u8>> {
    first_line(std::io::stdin().lock())
}

fn first_line(mut input: impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    line.pop_if(|last| *last == b'\n');
    line.pop_if(|last| *last == b'\r');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line() {
        for (input, expected) in
            [("bone\nnext", "bone"), ("bone\r\n", "bone"), (" b o n e ", " b o n e "), ("", ""), ("\n", "")]
        {
            assert_eq!(first_line(input.as_bytes()).expect("read"), expected.as_bytes());
        }
    }
}
