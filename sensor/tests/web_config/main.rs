//! HTTP as a web config secures it, over real sockets on loopback, asked by programs that others wrote:
//! curl, openssl and Prometheus. The state behind it is made up.

#[path = "../binary/mod.rs"]
mod binary;
mod clients;
mod curl;
mod documented;

mod files;
#[path = "../made_up/mod.rs"]
mod made_up;
mod passwords;
mod prometheus;

mod reread;
mod slow;
mod status;

mod tls;
#[path = "../tools/mod.rs"]
mod tools;
