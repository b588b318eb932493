//! A step as it is remembered: the fields of its definition key, and where its inputs come from.

use kiln_oci::Digest;
use kiln_store::{Lookup, Store};
use serde::{Deserialize, Serialize};

use crate::plan::key::KeyRecord;
use crate::plan::{Origin, StepKey};

const FIELDS: &str = "fields";
/// Version of the records' form; another one counts as none.
const FORMAT: u32 = 1;

/// What is remembered of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portrait {
    format: u32,
    /// The fields of its definition key.
    pub fields: KeyRecord,
    /// Its parent, and what it reads besides, in the order of [`crate::plan::Op::reads`].
    pub inputs: Vec<InputNote>,
    /// Which variables are arguments of the build, and not of the image.
    pub arguments: Vec<String>,
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputNote {
    /// A step of the plan.
    Step {
        /// Its definition key.
        key: Digest,
    },
    /// Files of a context.
    Files {
        /// The digest of what is selected.
        selection: Digest,
        /// The record of [`super::FileList`].
        list: Option<Digest>,
    },
    /// An image.
    Image {
        /// Its name, as it is written.
        name: String,
        /// The digest of its manifest.
        manifest: Digest,
    },
    /// A file of the web.
    Web {
        /// Its address.
        url: String,
        /// The digest of its bytes.
        digest: Digest,
    },
    /// A git repository.
    Git {
        /// Its address.
        name: String,
        /// The commit.
        commit: String,
    },
    /// Nothing that can be told of.
    Other,
}

impl Portrait {
    /// Describes a step.
    pub fn new(fields: KeyRecord, inputs: Vec<InputNote>, arguments: Vec<String>) -> Self {
        Self { format: FORMAT, fields, inputs, arguments }
    }

    /// Returns the portrait of the step that had a definition key.
    pub fn of(store: &Store, key: StepKey) -> Option<Self> {
        // What cannot be read is not remembered.
        let record = store.records().get(FIELDS, &key.0).ok().and_then(Lookup::hit)?;
        postcard::from_bytes(&record.payload).ok().filter(|portrait: &Self| portrait.format == FORMAT)
    }
}

/// Returns where a step stands, as people name it: `STAGE:LINE`.
pub fn place(origin: &Origin) -> String {
    match origin.line {
        0 => origin.text.clone(),
        line => format!("{}:{line}", origin.stage),
    }
}
