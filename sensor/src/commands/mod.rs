//! One command a file. They do the input and output; what they say comes from the library.

pub mod check;
pub mod detach;
pub mod lists;
pub mod replay;
pub mod run;
pub mod status;
pub mod test_alert;
