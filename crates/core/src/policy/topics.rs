//! Rules on open topics, and how filters lie to each other.

use super::role::TopicGrant;
use rowcast_codec::{Topic, TopicFilter, levels};

/// What is allowed on the topics of a filter.
#[derive(Debug)]
pub(super) struct TopicRule {
    pub(super) filter: Box<str>,
    pub(super) read: bool,
    pub(super) publish: bool,
}

impl TopicRule {
    pub(super) fn new(grant: &TopicGrant) -> TopicRule {
        TopicRule { filter: grant.filter.clone(), read: grant.read, publish: grant.publish }
    }

    pub(super) fn has_placeholder(&self) -> bool {
        self.filter.contains(USER) || self.filter.contains(CLIENT)
    }

    /// The rule for one client. `None`: it speaks of a name that the client has not, or that is no part of a topic:
    /// somebody called `+` must not be everybody.
    pub(super) fn filled_in(&self, user: &str, client_id: &str) -> Option<TopicRule> {
        let mut filter = String::with_capacity(self.filter.len() + user.len());
        let mut rest = &*self.filter;
        while let Some(at) = rest.find('%') {
            let (before, placeholder) = rest.split_at(at);
            filter.push_str(before);
            let name = match placeholder.get(..2) {
                Some(USER) => Some(user),
                Some(CLIENT) => Some(client_id),
                _ => None,
            };
            match name {
                Some(name) if name.is_empty() || name.contains(['+', '#', '/', '\0']) => return None,
                Some(name) => filter.push_str(name),
                None => filter.push('%'),
            }
            rest = &placeholder[if name.is_some() { 2 } else { 1 }..];
        }
        filter.push_str(rest);
        Some(TopicRule { filter: filter.into(), read: self.read, publish: self.publish })
    }

    pub(super) fn selects(&self, topic: &str) -> bool {
        match (TopicFilter::new(&self.filter), Topic::new(topic)) {
            (Ok(filter), Ok(topic)) => filter.matches(&topic),
            _ => false,
        }
    }
}

const USER: &str = "%u";
const CLIENT: &str = "%c";

/// Whether `filter` selects every topic that `other` does.
pub(super) fn covers(filter: &str, other: &str) -> bool {
    if hides(filter, other) {
        return false;
    }
    let mut others = levels(other);
    for level in levels(filter) {
        let of_other = others.next();
        match (level, of_other) {
            ("#", _) => return true, // The parent, too.
            (_, None | Some("#")) => return false,
            ("+", _) => {}
            (name, Some(of_other)) if name == of_other => {}
            _ => return false,
        }
    }
    others.next().is_none()
}

/// Whether there can be a topic that both select.
pub(super) fn overlaps(filter: &str, other: &str) -> bool {
    if hides(filter, other) || hides(other, filter) {
        return false;
    }
    let (mut ours, mut others) = (levels(filter), levels(other));
    loop {
        match (ours.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(one), Some(another)) if one == another || one == "+" || another == "+" => {}
            _ => return false,
        }
    }
}

/// Whether `filter` begins with a wildcard, which selects none of the topics of `other` that begin with `$`
/// [MQTT-4.7.2-1].
fn hides(filter: &str, other: &str) -> bool {
    filter.starts_with(['+', '#']) && other.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_cover_overlap_or_have_nothing_in_common() {
        for (one, other, covered, overlapping) in [
            ("#", "a", true, true),
            ("#", "#", true, true),
            ("#", "+/x", true, true),
            ("#", "$SYS/#", false, false),
            ("+/x", "$SYS/x", false, false),
            ("$SYS/#", "#", false, false),
            ("$SYS/#", "$SYS/a/+", true, true),
            ("a/#", "a", true, true),
            ("a/#", "a/b/#", true, true),
            ("a/b/#", "a/#", false, true),
            ("a/+", "a/#", false, true),
            ("a/+", "a/b", true, true),
            ("a/+", "a", false, false),
            ("a/+", "a/b/c", false, false),
            ("a/+/c", "a/+/c", true, true),
            ("a/+/c", "a/b/+", false, true),
            ("a/b/c", "a/+/+", false, true),
            ("+/b", "a/+", false, true),
            ("a", "b", false, false),
            ("a", "a/b", false, false),
            ("a/b", "a", false, false),
            ("a", "a/#", false, true),
            ("a/", "a/+", false, true),
            ("+", "#", false, true),
        ] {
            assert_eq!(covers(one, other), covered, "{one} covers {other}");
            assert_eq!(overlaps(one, other), overlapping, "{one} overlaps {other}");
            assert_eq!(overlaps(other, one), overlapping, "{other} overlaps {one}");
        }
    }

    #[test]
    fn names_fill_in_placeholders_and_nothing_else() {
        let rule = |filter: &str| TopicRule { filter: filter.into(), read: true, publish: true };
        let filled = |filter: &str, user: &str, client_id: &str| {
            rule(filter).filled_in(user, client_id).map(|rule| rule.filter.into_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(filled("home/%u/#", "rex", "c"), some("home/rex/#"));
        assert_eq!(filled("%c-%u/%c", "rex", "c"), some("c-rex/c"));
        assert_eq!(filled("a/%x/%", "rex", "c"), some("a/%x/%"));
        assert_eq!(filled("é%u", "ü", "c"), some("éü"));
        // What was filled in is not looked at again.
        assert_eq!(filled("a/%u/%c", "%c", "d"), some("a/%c/d"));
        for name in ["", "+", "#", "a/b", "a+", "/", "a\0b"] {
            assert_eq!(filled("home/%u/#", name, "c"), None, "{name}");
            assert_eq!(filled("home/%c/#", "rex", name), None, "{name}");
            assert_eq!(filled("home/%u/#", "rex", name), some("home/rex/#"), "{name}");
        }
    }
}
