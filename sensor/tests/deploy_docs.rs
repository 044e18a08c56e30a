//! The operator's manual, deploy/docs, held against the code: what it says of keys, metrics, events
//! and bounds is what they are, and its commands, configs and links work. Each check is a function
//! of a text, so that a fault put into the text shows that it would be found.
//!
//! Not here: whether what the manual explains in words is so.

mod deploy;
mod docs;
