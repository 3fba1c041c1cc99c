//! What a shard reports of its clients, told to the operator: in the log of the program, below `$SYS`, in the audit log.

use super::Runtime;
use super::refused::{Again, Tell, brief};
use crate::audit::{self, Event, Kind};
use crate::auth::Method;
use crate::peer::Peer;
use rowcast_codec::ReasonCode;
use rowcast_core::shard::{Arrival, Report};

/// What the audit log calls the doors of MQTT.
const MQTT: &str = "mqtt";

impl Runtime {
    /// Tells the operator.
    pub(super) fn report(&self, report: &Report) {
        let now = self.node.now();
        let tell = self.rejected.borrow_mut().take(report, now.monotonic_ms);
        match report {
            Report::Refused { reason: ReasonCode::QuotaExceeded, .. } => {
                self.node.refusals.add(); // The log has their number.
                if tell == Tell::Now {
                    self.note(report, None);
                }
            }
            Report::RejectedPublish { .. } | Report::DeniedSubscribe { .. } if tell == Tell::Counted => {}
            _ => {
                self.note(report, None);
                self.node.sys.report(report, now.wall_ms);
                if tell == Tell::Now {
                    log(report, None);
                }
            }
        }
    }

    /// Tells the operator of a connection that came to nothing before its first packet.
    pub(crate) fn turned_away(&self, peer: &Peer, user: Option<&str>, reason: ReasonCode, words: &str) {
        let (client_id, user, address) = (Box::default(), user.map(Into::into), peer.to_string().into());
        let report = Report::Refused { client_id, user, address, reason, words: words.into() };
        if self.rejected.borrow_mut().take(&report, self.node.now().monotonic_ms) == Tell::Now {
            log(&report, None);
        }
    }

    /// Tells how often clients were refused the same again.
    pub(super) fn report_again(&self) {
        let due = self.rejected.borrow_mut().due(self.node.now().monotonic_ms);
        self.tell_again(due);
    }

    /// The same for all that is left, as the node stops.
    pub(crate) fn report_rest(&self) {
        let rest = self.rejected.borrow_mut().rest();
        self.tell_again(rest);
    }

    fn tell_again(&self, due: Vec<Again>) {
        for again in due {
            match again {
                Again::Same(report, count) => {
                    let is_quota = matches!(report, Report::Refused { reason: ReasonCode::QuotaExceeded, .. });
                    if is_quota || !matches!(report, Report::Refused { .. }) {
                        self.note(&report, Some(count)); // Others that are not let in are counted there.
                    }
                    if !is_quota {
                        log(&report, Some(count));
                    }
                }
                Again::Others(count) => tracing::warn!(count, "of other clients, this much was refused"),
            }
        }
    }

    /// Writes down who came in and who did not, and who was denied something. `count`: so many times more.
    fn note(&self, report: &Report, count: Option<u64>) {
        match report {
            Report::RejectedPublish { client_id, user, address, topic, code: ReasonCode::NotAuthorized, .. } => {
                let event = denied(user.as_deref(), client_id, address, format!("PUBLISH {topic}"));
                self.node.audit.note(event.again(count));
            }
            Report::DeniedSubscribe { client_id, user, address, filter } => {
                let event = denied(user.as_deref(), client_id, address, format!("SUBSCRIBE {filter}"));
                self.node.audit.note(event.again(count));
            }
            Report::Connected(arrival) => {
                let found = self.node.directory.find(&arrival.client_id).filter(|(shard, _)| *shard == self.index);
                let visitors = self.visitors.borrow();
                let visitor = found.and_then(|(_, id)| visitors.get(id.slot as usize));
                let method = visitor.map_or(Method::Nothing, |visitor| visitor.method);
                let login = Event::new(Kind::Login).about(arrival.user.as_deref().unwrap_or_default()).shown(method);
                self.node.audit.note(login.client(&arrival.client_id).from(&*arrival.address, MQTT));
            }
            Report::Refused { client_id, user, address, words, .. } => {
                let refused = Event::new(Kind::Refused).client(client_id).from(&**address, MQTT).again(count);
                let (claimed, why) = self.why.take().unzip();
                let claimed = claimed.flatten();
                let refused = match claimed.as_deref().or(user.as_deref()) {
                    Some(user) => refused.about(user),
                    None => refused,
                };
                self.node.audit.note(match why {
                    Some(error) => refused.because(audit::reason(&error)),
                    None => refused.because(&**words),
                });
            }
            _ => {}
        }
    }
}

/// Somebody was denied something.
fn denied<'a>(user: Option<&'a str>, client_id: &'a str, address: &'a str, what: String) -> Event<'a> {
    Event::new(Kind::Denied).about(user.unwrap_or_default()).client(client_id).from(address, MQTT).because(what)
}

/// `count`: so many times more.
fn log(report: &Report, count: Option<u64>) {
    match report {
        Report::Connected(arrival) => {
            let Arrival { client_id, address, user, .. } = &**arrival;
            tracing::debug!(%client_id, %address, user = user.as_deref().unwrap_or_default(), "client connected");
        }
        Report::Disconnected { client_id, address, reason, .. } => {
            tracing::debug!(%client_id, %address, %reason, "client disconnected");
        }
        Report::Closed { client_id, address, reason } => {
            tracing::debug!(%client_id, %address, %reason, "connection closed");
        }
        Report::Refused { client_id, user, address, words, .. } => {
            let (client_id, user, reason) = (brief(client_id), user.as_deref(), brief(words));
            tracing::warn!(%client_id, user, %address, %reason, count, "connection refused");
        }
        Report::RejectedPublish { client_id, topic, reason, .. } => {
            let (client_id, topic) = (brief(client_id), brief(topic));
            tracing::warn!(%client_id, %topic, %reason, count, "publish refused");
        }
        Report::DeniedSubscribe { client_id, filter, .. } => {
            let (client_id, filter) = (brief(client_id), brief(filter));
            tracing::warn!(%client_id, %filter, count, "subscription refused: it may read nothing of it");
        }
        Report::LostEvents { client_id, position, oldest } => {
            let (position, oldest) = (position.0, oldest.0);
            tracing::warn!(%client_id, position, oldest, "the log no longer reaches back to a session: events are lost");
        }
    }
}
