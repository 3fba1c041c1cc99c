//! The codec as its users see it: whole packets, in all versions, against themselves and against other codecs.

mod check;
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;
mod generate;
mod hostile;
mod oracles;
mod round_trip;
