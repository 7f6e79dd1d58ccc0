//! One family in Prometheus' text format, for values that are computed on a scrape.

use std::fmt::Write as _;

/// Writes families whose values are worked out when they are asked for.
pub(super) struct Family<'t> {
    pub(super) text: &'t mut String,
}

impl Family<'_> {
    pub(super) fn start(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// The values of labels need no escaping: they are host names and words of closed sets, or
    /// configured names, whose quotes and backslashes are escaped here.
    pub(super) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = self.text.write_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let opening = if place == 0 { '{' } else { ',' };
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{opening}{label}=\"{escaped}\"");
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{closing} {value}");
    }
}
