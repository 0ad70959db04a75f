// SPDX-License-Identifier: Apache-2.0
//! Something that is wrong, where, and the way out.

use std::fmt;

use serde::{Serialize, Serializer};

/// The stable name of a check, displayed as `GH021`. Codes are never given to another check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Code(pub(crate) u16);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Some address is, or will be, silent.
    Error,
    /// It works, or may work, but not as it should.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// Which check found it.
    pub(crate) code: Code,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// The object to look at, `Kind namespace/name`.
    pub(crate) object: String,
    /// The field of that object that is wrong; empty when the whole object is.
    pub(crate) field: String,
    /// What is wrong, in a sentence without its full stop.
    pub(crate) says: String,
    /// What mends it: a sentence that names object, field and value.
    pub(crate) mend: String,
}

impl Finding {
    /// An error of this check.
    pub(crate) fn error(code: u16, object: impl Into<String>, field: impl Into<String>) -> Self {
        Self {
            code: Code(code),
            severity: Severity::Error,
            object: object.into(),
            field: field.into(),
            says: String::new(),
            mend: String::new(),
        }
    }

    /// A warning of this check.
    pub(crate) fn warning(code: u16, object: impl Into<String>, field: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, object, field) }
    }

    /// With what is wrong.
    pub(crate) fn says(mut self, says: impl Into<String>) -> Self {
        self.says = says.into();
        self
    }

    /// With the way out.
    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GH{:03}", self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Object, field and what is wrong, in one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}", self.says)
    }
}
