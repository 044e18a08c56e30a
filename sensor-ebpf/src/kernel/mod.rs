//! The only code that knows it is in the kernel: maps, socket buffers, programs.
//! It decides nothing; it hands the classifier of the library what it asks for.

mod maps;
mod object;
mod samples;
mod skb;
mod tc;
