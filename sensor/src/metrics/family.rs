//! A metric family while it is being filled: a name, a help text and samples. What stays empty
//! is not exported.
//!
//! Samples become text at once (prometheus.io, exposition formats). The client library's own
//! samples, a tree of strings each, took several times as long to build as the text to write.

use std::fmt::{Display, Write};

pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: String,
}

pub(super) const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: "counter", samples: String::new() }
}

pub(super) const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: "gauge", samples: String::new() }
}

impl Family {
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.write(labels, value);
    }

    /// Exact in the text; a reader who takes it for a float has it exact up to 2^53.
    pub(super) fn count(&mut self, labels: &[(&str, &str)], value: u64) {
        self.write(labels, value);
    }

    fn write(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let text = &mut self.samples;
        text.push_str(self.name);
        let mut before = '{';
        for (label, value) in labels {
            text.push(before);
            text.push_str(label);
            text.push_str("=\"");
            push_escaped(text, value);
            text.push('"');
            before = ',';
        }
        if !labels.is_empty() {
            text.push('}');
        }
        // A string takes everything.
        let _ = writeln!(text, " {value}");
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Length of the text in bytes.
    pub(super) const fn len(&self) -> usize {
        "# HELP  \n# TYPE  \n".len()
            + 2 * self.name.len()
            + self.help.len()
            + self.kind.len()
            + self.samples.len()
    }

    pub(super) fn push_to(&self, text: &mut String) {
        let Self { name, help, kind, samples } = self;
        if samples.is_empty() {
            return;
        }
        // A string takes everything.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        text.push_str(samples);
    }
}

/// A label's value: names of watchlists and targets may hold anything.
fn push_escaped(text: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        text.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_its_head_and_a_line_a_sample() {
        let mut family = counter("packets_total", "Wire packets.");
        family.count(&[], u64::MAX);
        family.add(&[("target", "kp")], 0.25);
        family.count(&[("target", "a \"b\"\\c\nd"), ("direction", "ingress")], 7);
        let mut text = String::new();
        family.push_to(&mut text);
        let expected = "# HELP packets_total Wire packets.\n# TYPE packets_total counter\n\
            packets_total 18446744073709551615\n\
            packets_total{target=\"kp\"} 0.25\n\
            packets_total{target=\"a \\\"b\\\"\\\\c\\nd\",direction=\"ingress\"} 7\n";
        assert_eq!(text, expected);
        assert_eq!(family.len(), expected.len());
    }

    #[test]
    fn a_family_without_samples_is_not_there() {
        let mut text = String::new();
        gauge("flows", "Flows.").push_to(&mut text);
        assert_eq!(text, "");
    }
}
