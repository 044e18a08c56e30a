//! What is told of JSON, whole, cut off and broken.

use super::*;

/// Writes down what it hears, one value after another: `params.0=text`.
#[derive(Default)]
struct Heard(String);

impl<'a> Listener<'a> for Heard {
    fn hear(&mut self, path: &[Step], value: Value<'a>) {
        let steps = path.iter().map(|step| match step {
            Step::Index(index) => index.to_string(),
            named => format!("{named:?}").to_lowercase(),
        });
        self.0 += &steps.collect::<Vec<_>>().join(".");
        self.0 += "=";
        match value {
            Value::Text(text) => self.0 += &text.printable().unwrap_or_default(),
            Value::Number => self.0 += "#",
            Value::Word => self.0 += "word",
            Value::Object => self.0 += "{}",
            Value::Array => self.0 += "[]",
        }
        self.0 += " ";
    }
}

fn heard(text: &str) -> (String, End) {
    let mut heard = Heard::default();
    let (end, _) = read(text.as_bytes(), &mut heard);
    (heard.0.trim_end().into(), end)
}

#[test]
fn a_whole_message_is_told_value_by_value() {
    for (what, text, told) in [
        ("a message", r#"{"id":1,"method":"a","error":null}"#, "method=a error=word"),
        (
            "params in order",
            r#"{"params":["a",-1.5e3,true]}"#,
            "params=[] params.0=a params.1=# params.2=word",
        ),
        (
            "a result by name",
            r#"{"result":{"job":{"blob":"c"}}}"#,
            "result={} result.job={} result.job.blob=c",
        ),
        ("empty ones", r#"{"params":[],"result":{}}"#, "params=[] result={}"),
        ("others are read over", r#"{"x":{"method":"a"},"id":[1,{"b":[]}],"params":{"x":[1]}}"#, "params={}"),
        (
            "four steps at most",
            r#"{"params":[[[["a"]],"b"]]}"#,
            "params=[] params.0=[] params.0.0=[] params.0.0.0=[] params.0.1=b",
        ),
        ("escapes", r#"{"m\u0065thod":"a\/b\u0063"}"#, "method=a/bc"),
        ("a surrogate pair", r#"{"method":"\ud83d\ude00"}"#, "method=?"),
        ("blanks", " {\r\n\t\"method\" : \"a\" , \"params\" : [ ] } ", "method=a params=[]"),
    ] {
        assert_eq!(heard(text), (told.into(), End::Whole), "{what}");
    }
}

#[test]
fn a_message_that_ends_early_has_told_what_was_complete() {
    for (what, text, end) in [
        ("cut in a text", r#","method":"mining.sub"#, End::Cut),
        ("cut in an escape", r#","method":"a\u00"#, End::Cut),
        ("cut in a word", r#","error":nul"#, End::Cut),
        ("cut behind a key", r#","method""#, End::Cut),
        ("cut behind a colon", r#","method":"#, End::Cut),
        ("cut behind a value", "", End::Cut),
        ("cut behind a comma", ",", End::Cut),
        ("cut in a number", r#","error":-"#, End::Cut),
        ("a word that is none", r#","error":nil}"#, End::Broken),
        ("a line feed in a text", ",\"method\":\"b\n", End::Broken),
        ("an escape that is none", r#","method":"\x"#, End::Broken),
        ("half a surrogate pair", r#","method":"\ud83d"}"#, End::Broken),
        ("a key that is none", ",2:3}", End::Broken),
        ("no comma", r#" "method":"a"}"#, End::Broken),
    ] {
        assert_eq!(heard(&format!(r#"{{"params":1{text}"#)), ("params=#".into(), end), "{what}");
    }
    assert_eq!(heard(""), (String::new(), End::Cut), "nothing");
    assert_eq!(heard(r#"["a"]"#), (String::new(), End::Broken), "no object");
}

#[test]
fn nesting_is_read_so_deep_and_no_deeper() {
    let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(heard(&nested(DEPTH_MAX - 1)).1, End::Whole);
    assert_eq!(heard(&nested(DEPTH_MAX)).1, End::Broken);
}

#[test]
fn what_follows_a_message_is_handed_back() {
    let (end, rest) = read(b" {\"id\":1}{\"id\":2}\n", &mut Heard::default());
    assert_eq!((end, rest), (End::Whole, b"{\"id\":2}\n".as_slice()));
}

fn text(raw: &[u8]) -> Option<Text<'_>> {
    Text::read(&mut SliceLexer::new(raw)).ok()
}

#[test]
fn texts_are_compared_with_their_escapes_undone() {
    let (long, short) = ("a".repeat(text::SPARE), "a".repeat(text::SPARE - 1));
    for (what, raw, word, is_equal) in [
        ("the same", r#"login""#, "login", true),
        ("longer", r#"logins""#, "login", false),
        ("shorter", r#"log""#, "login", false),
        ("escaped", r#"log\u0069n""#, "login", true),
        ("escaped and longer", r#"log\u0069ns""#, "login", false),
        ("escaped and longer than is looked at", &format!(r#"\u0061{long}""#), &short, false),
    ] {
        assert_eq!(text(raw.as_bytes()).expect(what).is(word), is_equal, "{what}");
    }
    assert!(!text(b"log\xffn\"").expect("UTF-8 is not asked for").is("login"));
}

#[test]
fn hexadecimal_texts_are_told_from_others() {
    for (raw, bytes_min, is_hex) in [
        (r#"5eEd""#, 2, true),
        (r#"5eed""#, 3, false),
        (r#"5ee""#, 1, false),
        (r#"5eeg""#, 1, false),
        (r#"""#, 1, false),
    ] {
        assert_eq!(text(raw.as_bytes()).expect(raw).is_hex(bytes_min), is_hex, "{raw}");
    }
    for (raw, is_0x) in
        [(r#"0x5eed""#, true), (r#"5eed""#, false), (r#"0x5eed5eed""#, false), (r#"0x""#, false)]
    {
        assert_eq!(text(raw.as_bytes()).expect(raw).is_0x(1..=4), is_0x, "{raw}");
    }
}
