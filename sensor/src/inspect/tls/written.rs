//! Hellos of clients as tests write them, field by field, and wrong wherever a test wants them wrong.

pub const KEY_SHARE: u16 = 51;
pub const PADDING: u16 = 21;
pub const GREASE: u16 = 0x1a1a;

/// Behind a length of `width` bytes.
pub fn sized(width: usize, content: &[u8]) -> Vec<u8> {
    sized_as(width, content.len(), content)
}

/// Behind a length that may lie.
pub fn sized_as(width: usize, length: usize, content: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[8 - width..], content].concat()
}

pub fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &sized(2, content)[..]].concat()
}

/// One entry of a list of server names.
pub fn host_name(name: &str) -> Vec<u8> {
    [&[0], &sized(2, name.as_bytes())[..]].concat()
}

pub fn server_name(name: &str) -> Vec<u8> {
    extension(0, &sized(2, &host_name(name)))
}

/// X25519MLKEM768's share, which alone fills most of a segment.
pub fn post_quantum_key_share() -> Vec<u8> {
    let share = [&0x11ec_u16.to_be_bytes(), &sized(2, &[7; 1216])[..]].concat();
    extension(KEY_SHARE, &sized(2, &share))
}

/// Encrypted Client Hello.
pub fn ech() -> Vec<u8> {
    extension(0xfe0d, &[0; 180])
}

/// What comes before the extensions.
pub fn fields() -> Vec<u8> {
    let suites: Vec<u8> =
        [GREASE, 0x1301, 0x1302, 0xc02f].iter().flat_map(|suite| suite.to_be_bytes()).collect();
    [&[3, 3], &[9; 32][..], &sized(1, &[5; 32]), &sized(2, &suites), &sized(1, &[0])].concat()
}

/// A hello with these extensions, without the message's header.
pub fn body(extensions: &[Vec<u8>]) -> Vec<u8> {
    [fields(), sized(2, &extensions.concat())].concat()
}

pub fn message(body: &[u8]) -> Vec<u8> {
    [&[1], &sized(3, body)[..]].concat()
}

pub fn record(fragment: &[u8]) -> Vec<u8> {
    [&[22, 3, 1], &sized(2, fragment)[..]].concat()
}

/// In records of at most `size` bytes each.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(record).collect()
}

/// All in one record.
pub fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    record(&message(&body(extensions)))
}
