//! DNS over TCP: messages behind a length of two octets each (RFC 1035 4.2.2), several in a row
//! (RFC 7766 6.2.1.1). A piece of a stream may end anywhere.

/// Size of the length before each message, in bytes.
const LENGTH_LEN: usize = 2;

/// The complete messages of a piece that begins at a length, in order.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

/// See [`Messages`].
pub const fn messages(stream: &[u8]) -> Messages<'_> {
    Messages { rest: stream }
}

impl<'a> Messages<'a> {
    /// What has not been handed out: once the messages are through, the beginning of an incomplete
    /// one, from its length on.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The incomplete message itself, which may be read as far as it goes.
    pub fn beginning(&self) -> &'a [u8] {
        self.rest.get(LENGTH_LEN..).unwrap_or_default()
    }

    /// How many more bytes the incomplete message wants, at least; 0 where there is none.
    pub fn wanted(&self) -> usize {
        match self.rest.split_first_chunk() {
            Some((length, message)) => usize::from(u16::from_be_bytes(*length)).saturating_sub(message.len()),
            None if self.rest.is_empty() => 0,
            None => LENGTH_LEN - self.rest.len(),
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, behind) = self.rest.split_first_chunk()?;
        let (message, rest) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.rest = rest;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        messages
            .iter()
            .flat_map(|message| [&u16::try_from(message.len()).unwrap().to_be_bytes(), *message].concat())
            .collect()
    }

    #[test]
    fn a_stream_cut_anywhere_gives_its_complete_messages_and_says_what_it_wants() {
        let sent: [&[u8]; 4] = [b"first", b"", b"second one", b"x"];
        let stream = framed(&sent);
        // Where each message ends.
        let ends = [7, 9, 21, 24];
        for cut in 0..=stream.len() {
            let mut messages = messages(&stream[..cut]);
            let complete = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(messages.by_ref().collect::<Vec<_>>(), sent[..complete], "cut at {cut}");
            let begun = cut - ends[..complete].last().unwrap_or(&0);
            assert_eq!(messages.rest(), &stream[cut - begun..cut], "cut at {cut}");
            assert_eq!(messages.beginning().len(), begun.saturating_sub(2), "cut at {cut}");
            let wanted = match begun {
                0 => 0,
                1 => 1,
                _ => ends[complete] - cut,
            };
            assert_eq!(messages.wanted(), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn a_length_beyond_the_piece_gives_nothing() {
        let mut messages = messages(&[0xff, 0xff, 1, 2, 3]);
        assert_eq!(messages.next(), None);
        assert_eq!((messages.beginning(), messages.wanted()), (&[1, 2, 3][..], 0xffff - 3));
    }
}
