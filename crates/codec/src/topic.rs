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
        if name.contains(['+', '#']) {
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
        self.0.split('/')
    }

    /// What stands before the first slash.
    pub fn first_level(&self) -> &'a str {
        self.0.split_once('/').map_or(self.0, |(first, _)| first)
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
        self.filter.split('/')
    }

    /// Whether it may select more than one topic.
    pub fn has_wildcards(&self) -> bool {
        self.filter.contains(['+', '#'])
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
        if name.contains(['+', '#']) {
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
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "+" => {}
            "#" if levels.peek().is_some() => return Err(TopicError::HashNotLast),
            "#" => {}
            _ if level.contains('#') => return Err(TopicError::HashNotAlone),
            _ if level.contains('+') => return Err(TopicError::PlusNotAlone),
            _ => {}
        }
    }
    Ok(())
}

/// What the length field of a topic can say [MQTT-4.7.3-3].
const TOPIC_BYTES_MAX: usize = 65_535;

/// How a shared subscription begins [MQTT-4.8.2-1].
const SHARE: &str = "$share/";
