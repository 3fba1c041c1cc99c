//! Where the client commands find user names and passwords that are not in their arguments, which everyone on the
//! machine can see.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal};

/// A variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first line of standard input, without its end.
pub(super) fn password_from_input() -> std::io::Result<Vec<u8>> {
    first_line(std::io::stdin().lock())
}

/// A password for `name`, typed twice and not shown; where nobody types, the first line of standard input.
pub(super) fn new_password(name: &str) -> anyhow::Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(String::from_utf8(password_from_input()?)?);
    }
    let ask = |prompt: &str| -> anyhow::Result<String> {
        let _hidden = Hidden::new()?;
        anstream::eprint!("{prompt}: ");
        let line = first_line(input.lock())?;
        anstream::eprintln!();
        Ok(String::from_utf8(line)?)
    };
    let password = ask(&format!("New password for {name}"))?;
    if ask("Again")? != password {
        anyhow::bail!("the two differ");
    }
    Ok(password)
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn new() -> std::io::Result<Hidden> {
        let before = tcgetattr(std::io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
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
