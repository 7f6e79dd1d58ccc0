//! The report of `check`: problems and warnings apart, as text or JSON.

use std::fmt;

use serde::Serialize;

use super::problem::{Problem, Severity};

/// The problems and warnings of all files. JSON: the keys `problems` and `warnings`, each a list of
/// `{"file", "place", "message", "hint"}`; `hint` may be null. Text: lines of `FILE: PLACE: MESSAGE (hint: HINT)`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Report {
    /// What makes `check` fail.
    pub problems: Vec<Finding>,
    /// What does not change the exit code.
    pub warnings: Vec<Finding>,
}

/// One entry.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The place in it; empty for the whole file.
    pub place: String,
    /// What is wrong, with the value.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl<'p> FromIterator<&'p Problem> for Report {
    fn from_iter<I: IntoIterator<Item = &'p Problem>>(problems: I) -> Self {
        let mut report = Self::default();
        for problem in problems {
            let finding = Finding {
                file: problem.file.display().to_string(),
                place: problem.place.clone(),
                message: problem.message.clone(),
                hint: problem.hint.clone(),
            };
            match problem.severity {
                Severity::Warning => report.warnings.push(finding),
                Severity::Degraded | Severity::Fatal => report.problems.push(finding),
            }
        }
        report
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (heading, findings) in [("problems", &self.problems), ("warnings", &self.warnings)] {
            if !findings.is_empty() {
                writeln!(f, "{heading}:")?;
            }
            for finding in findings {
                writeln!(f, "  {finding}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_warnings_stand_apart() {
        let problem = |severity, place: &str, hint: Option<&str>| Problem {
            severity,
            file: "icpgate.yaml".into(),
            place: place.to_owned(),
            message: "wrong".to_owned(),
            hint: hint.map(str::to_owned),
        };
        let problems = [
            problem(Severity::Warning, "", None),
            problem(Severity::Degraded, "sites[0]", None),
            problem(Severity::Fatal, "node", Some("right")),
        ];
        let report: Report = problems.iter().collect();
        assert_eq!(
            report.to_string(),
            "problems:\n  icpgate.yaml: sites[0]: wrong\n  icpgate.yaml: node: wrong (hint: right)\n\
             warnings:\n  icpgate.yaml: wrong\n"
        );
        let json = serde_json::to_value(&report).expect("serializable");
        assert_eq!(
            json,
            serde_json::json!({
                "problems": [
                    {"file": "icpgate.yaml", "place": "sites[0]", "message": "wrong", "hint": null},
                    {"file": "icpgate.yaml", "place": "node", "message": "wrong", "hint": "right"},
                ],
                "warnings": [{"file": "icpgate.yaml", "place": "", "message": "wrong", "hint": null}],
            })
        );
    }
}
