//! Topic names and topic filters (MQTT 5 §4.7), shared subscriptions among them (§4.8.2).
//!
//! Checked once, when made; compared byte by byte, without any normalization [MQTT-4.7.3-4].

use std::fmt;

use crate::TopicError;

/// A topic name: not empty, at most 65,535 bytes, without U+0000 and wildcards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// Checks that `name` is a topic name.
    pub fn new(name: &'a str) -> Result<Self, TopicError> {
        check_text(name)?;
        if has_wildcards(name) {
            return Err(TopicError::WildcardInName);
        }
        Ok(Self(name))
    }

    /// The whole name.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// What stands between the slashes: at least one, any of them may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        levels(self.0)
    }

    /// What stands before the first slash.
    pub fn first_level(&self) -> &'a str {
        split_level(self.0).0
    }

    /// Whether it begins with `$`, which hides it from filters that begin with a wildcard [MQTT-4.7.2-1].
    pub fn is_dollar(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A topic filter, which may be shared: `dog/+`, `dog/#`, `$share/group/dog/#`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    whole: &'a str,
    share: Option<ShareName<'a>>,
    filter: &'a str,
}

impl<'a> TopicFilter<'a> {
    /// Checks that `whole` is a topic filter, and takes it apart if it is a shared one.
    pub fn new(whole: &'a str) -> Result<Self, TopicError> {
        check_text(whole)?;
        let (share, filter) = match whole.strip_prefix(SHARE) {
            None => (None, whole),
            Some(rest) => {
                let (share, filter) = ShareName::split(rest)?;
                (Some(share), filter)
            }
        };
        check_wildcards(filter)?;
        Ok(Self { whole, share, filter })
    }

    /// The filter as the client wrote it, with `$share/group/` if it has that.
    pub fn as_str(&self) -> &'a str {
        self.whole
    }

    /// What messages are selected by: the filter without `$share/group/`.
    pub fn filter(&self) -> &'a str {
        self.filter
    }

    /// The group that shares the subscription, if it is a shared one.
    pub fn share(&self) -> Option<ShareName<'a>> {
        self.share
    }

    /// The levels of [`filter`](Self::filter).
    pub fn levels(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        levels(self.filter)
    }

    /// Whether it may select more than one topic.
    pub fn has_wildcards(&self) -> bool {
        has_wildcards(self.filter)
    }

    /// Whether it selects the topic (MQTT 5 §4.7.1, §4.7.2). This is the reference; who has many filters keeps them
    /// in a trie.
    pub fn matches(&self, topic: &Topic<'_>) -> bool {
        if topic.is_dollar() && self.filter.starts_with(['+', '#']) {
            return false;
        }
        let mut topic_levels = topic.levels();
        for level in self.levels() {
            if level == "#" {
                return true; // Everything below, and the parent.
            }
            match topic_levels.next() {
                Some(other) if level == "+" || level == other => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.whole)
    }
}

/// The name of a group that shares a subscription: not empty, without `/`, `+` and `#` [MQTT-4.8.2-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName<'a>(&'a str);

impl<'a> ShareName<'a> {
    /// The name.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Takes `group/filter` apart.
    fn split(rest: &'a str) -> Result<(Self, &'a str), TopicError> {
        let (name, filter) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(TopicError::ShareNameEmpty);
        }
        if has_wildcards(name) {
            return Err(TopicError::ShareNameWildcard);
        }
        if filter.is_empty() {
            return Err(TopicError::ShareFilterMissing);
        }
        Ok((Self(name), filter))
    }
}

impl fmt::Display for ShareName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What stands between the slashes: at least one level, any of them may be empty.
pub fn levels(text: &str) -> impl Iterator<Item = &str> + Clone {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (level, below) = split_level(rest?);
        rest = below;
        Some(level)
    })
}

/// What stands before the first slash, and what behind it, if there is one.
// Byte by byte, here and below: levels are short, and a search for characters takes several times as long.
#[inline]
pub fn split_level(text: &str) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == b'/') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn has_wildcards(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// What holds for names and filters alike.
fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong { bytes: text.len() });
    }
    if text.as_bytes().contains(&0) {
        return Err(TopicError::Nul);
    }
    Ok(())
}

/// `#` is the last level, and wildcards fill whole levels [MQTT-4.7.1-1], [MQTT-4.7.1-2].
fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    if !has_wildcards(filter) {
        return Ok(());
    }
    let mut rest = Some(filter);
    while let Some((level, below)) = rest.map(split_level) {
        match level {
            "+" => {}
            "#" if below.is_some() => return Err(TopicError::HashNotLast),
            "#" => {}
            _ if !has_wildcards(level) => {}
            _ if level.contains('#') => return Err(TopicError::HashNotAlone),
            _ => return Err(TopicError::PlusNotAlone),
        }
        rest = below;
    }
    Ok(())
}

/// What the length field of a topic can say [MQTT-4.7.3-3].
const TOPIC_BYTES_MAX: usize = 65_535;

/// How a shared subscription begins [MQTT-4.8.2-1].
const SHARE: &str = "$share/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_any_text_without_wildcards() {
        let longest = "x".repeat(65_535);
        for name in ["/", "a", "//", "a//b", " ", "a b", "$SYS/x", "\u{1F415}/\u{E9}", "$share/g/x", &longest] {
            let topic = Topic::new(name).expect(name);
            assert_eq!((topic.as_str(), &topic.to_string()[..]), (name, name));
        }
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        let check = |name: &str, error| assert_eq!(Topic::new(name), Err(error), "{name:.20}");
        check("", TopicError::Empty);
        check(&"x".repeat(65_536), TopicError::TooLong { bytes: 65_536 });
        check("a\0b", TopicError::Nul);
        for name in ["+", "#", "a/+", "a/#", "a+", "#a"] {
            check(name, TopicError::WildcardInName);
        }
    }

    #[test]
    fn a_name_is_levels_between_slashes() {
        let check = |name, levels: &[&str]| {
            let topic = Topic::new(name).expect(name);
            assert_eq!(topic.levels().collect::<Vec<_>>(), levels);
            assert_eq!(topic.first_level(), levels[0]);
        };
        check("dog", &["dog"]);
        check("dog/7", &["dog", "7"]);
        check("/dog/", &["", "dog", ""]);
        check("/", &["", ""]);
    }

    #[test]
    fn a_filter_is_taken_apart() {
        let check = |whole: &str, share: Option<&str>, filter: &str, wildcards| {
            let parsed = TopicFilter::new(whole).expect(whole);
            assert_eq!(parsed.share().map(|name| name.as_str()), share);
            assert_eq!((parsed.as_str(), parsed.filter(), parsed.has_wildcards()), (whole, filter, wildcards));
        };
        check("dog", None, "dog", false);
        check("/", None, "/", false);
        check("+", None, "+", true);
        check("#", None, "#", true);
        check("dog/+/weight", None, "dog/+/weight", true);
        check("+/+/#", None, "+/+/#", true);
        check("/+", None, "/+", true);
        check("$SYS/#", None, "$SYS/#", true);
        check("$share", None, "$share", false);
        check("$shared/g/a", None, "$shared/g/a", false);
        check("$share/g/dog", Some("g"), "dog", false);
        check("$share/g//", Some("g"), "/", false);
        check("$share/$share/$share/g", Some("$share"), "$share/g", false);
        check("$share/g/#", Some("g"), "#", true);
        check("$share/\u{1F415}/+/a", Some("\u{1F415}"), "+/a", true);
    }

    #[test]
    fn levels_stand_between_slashes() {
        for text in ["", "/", "a", "a/", "/a", "a//b", "a/b/c", "\u{1F415}/\u{E9}/", "//"] {
            assert!(levels(text).eq(text.split('/')), "{text}");
            let expected = text.split_once('/').map_or((text, None), |(first, below)| (first, Some(below)));
            assert_eq!(split_level(text), expected);
        }
    }

    #[test]
    fn what_is_not_a_filter_is_refused() {
        let check = |whole: &str, error| assert_eq!(TopicFilter::new(whole), Err(error), "{whole:.20}");
        check("", TopicError::Empty);
        check(&"x".repeat(65_536), TopicError::TooLong { bytes: 65_536 });
        check("a\0/#", TopicError::Nul);
        for whole in ["#/x", "a/#/b", "#/", "##/a/#", "#/#"] {
            let error = if whole.starts_with("##") { TopicError::HashNotAlone } else { TopicError::HashNotLast };
            check(whole, error);
        }
        for whole in ["a#", "#a", "a/b#", "##", "a/##", "+#", "#+"] {
            check(whole, TopicError::HashNotAlone);
        }
        for whole in ["a+", "+a", "a+/b", "a/+b/c", "++", "/a+"] {
            check(whole, TopicError::PlusNotAlone);
        }
        for whole in ["$share/", "$share//", "$share//f"] {
            check(whole, TopicError::ShareNameEmpty);
        }
        for whole in ["$share/g", "$share/g/"] {
            check(whole, TopicError::ShareFilterMissing);
        }
        for whole in ["$share/a+/f", "$share/+/f", "$share/#", "$share/#/f"] {
            check(whole, TopicError::ShareNameWildcard);
        }
        check("$share/g/a#", TopicError::HashNotAlone);
        check("$share/g/#/a", TopicError::HashNotLast);
        check("$share/g/a+", TopicError::PlusNotAlone);
    }

    #[test]
    fn a_filter_without_wildcards_selects_itself() {
        check("dog/7", &["dog/7"], &["dog/8", "dog", "dog/7/", "/dog/7", "Dog/7", "dog/77"]);
        check("/", &["/"], &["//", "a/", "/a"]);
        check("\u{E9}", &["\u{E9}"], &["e\u{301}"]); // [MQTT-4.7.3-4]
    }

    #[test]
    fn a_plus_selects_one_whole_level() {
        // MQTT 5 §4.7.1.3
        check("dog/+", &["dog/7", "dog/"], &["dog", "dog/7/weight"]);
        check("+", &["dog", " "], &["/dog", "dog/"]);
        check("+/+", &["/dog", "/", "a/b"], &["dog", "a/b/c"]);
        check("/+", &["/dog", "/"], &["dog", "a/b"]);
        check("+/tennis/#", &["a/tennis", "a/tennis/b/c", "/tennis"], &["tennis", "tennis/a"]);
        check("sport/+/player1", &["sport/tennis/player1", "sport//player1"], &["sport/player1"]);
    }

    #[test]
    fn a_hash_selects_the_parent_and_everything_below() {
        // MQTT 5 §4.7.1.2
        check("dog/#", &["dog", "dog/7", "dog/7/weight", "dog/", "dog//"], &["dogs/1", "cat/1"]);
        check("#", &["dog", "/", "a/b/c"], &[]);
        check("/#", &["/", "/a", "/a/b"], &["a"]);
        check("+/#", &["a", "a/b", "/"], &[]);
        check("a/+/#", &["a/b", "a/", "a/b/c"], &["a"]);
    }

    #[test]
    fn a_leading_wildcard_does_not_select_what_begins_with_a_dollar() {
        // [MQTT-4.7.2-1]
        check("#", &[], &["$SYS", "$SYS/broker"]);
        check("+", &[], &["$SYS"]);
        check("+/monitor/Clients", &[], &["$SYS/monitor/Clients"]);
        check("$SYS/#", &["$SYS", "$SYS/broker"], &[]);
        check("$SYS/monitor/+", &["$SYS/monitor/Clients"], &["$SYS/monitor"]);
        check("a/+", &["a/$b"], &[]);
        check("$share/g/#", &["a"], &["$SYS/a", "$share/g/a"]);
        check("$share/g/$SYS/#", &["$SYS/a"], &["a"]);
    }

    #[track_caller]
    fn check(filter: &str, selected: &[&str], others: &[&str]) {
        let parsed = TopicFilter::new(filter).expect(filter);
        let matches = |topic: &str| parsed.matches(&Topic::new(topic).expect(topic));
        for topic in selected {
            assert!(matches(topic), "{filter} should select {topic}");
        }
        for topic in others {
            assert!(!matches(topic), "{filter} should not select {topic}");
        }
    }
}
