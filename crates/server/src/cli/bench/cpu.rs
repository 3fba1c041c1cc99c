//! What a broker on this machine costs: processor time and memory of its process.

use anyhow::Context;

/// CPU seconds a process has used so far, in all its threads, for itself and in the kernel.
pub(super) fn seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: is {pid} running?"))?;
    let ticks = ticks(&stat).with_context(|| format!("{path} has no times"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Memory a process has resident.
pub(super) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/statm");
    let statm = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: is {pid} running?"))?;
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.with_context(|| format!("{path} has no sizes"))? * rustix::param::page_size() as u64)
}

/// `utime` and `stime` of proc(5). The name before them is in parentheses, and may have any in it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 5066 0 1 0 250 31 0 0 20 0 4 0 1 2 3";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("42 (a) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn this_process_has_times_and_one_that_is_not_there_has_none() {
        assert!(seconds(std::process::id()).expect("it runs") >= 0.0);
        assert!(resident_bytes(std::process::id()).expect("it runs") > 100_000);
        assert!(seconds(u32::MAX).expect_err("no such process").to_string().contains("is 4294967295 running?"));
    }
}
