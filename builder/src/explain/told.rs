//! What the last build of a store did anew, and why: for whoever asks when it is over.

use std::time::Duration;

use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::Reason;

const KIND: &str = "explained";
/// Version of the record's form; another one counts as none.
const FORMAT: u32 = 1;

/// The last build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldBuild {
    format: u32,
    /// Its Dockerfile, as it is shown.
    pub dockerfile: String,
    /// How many steps it has.
    pub steps: usize,
    /// The steps that ran, in their order.
    pub ran: Vec<Told>,
}

/// A step that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its stage, as it is shown.
    pub stage: String,
    /// The stage's name in lower case; empty when it has none.
    pub stage_name: String,
    /// Its first line.
    pub line: u32,
    /// The instruction.
    pub text: String,
    /// Why it ran.
    pub reason: Reason,
    /// Milliseconds that it took, where it ended well.
    pub took: Option<u64>,
}

impl Told {
    /// Returns how long the step took.
    pub fn took(&self) -> Option<Duration> {
        self.took.map(Duration::from_millis)
    }
}

impl ToldBuild {
    /// Describes a build.
    pub fn new(dockerfile: String, steps: usize, ran: Vec<Told>) -> Self {
        Self { format: FORMAT, dockerfile, steps, ran }
    }

    /// Keeps it in the place of the one before. Nothing is written where it is the same.
    ///
    /// # Errors
    /// What the store says.
    pub fn keep(&self, store: &Store) -> Result<(), StoreError> {
        if Self::of(store)?.as_ref() == Some(self) {
            return Ok(());
        }
        let payload = postcard::to_stdvec(&Json::of(self)).expect("records serialize to memory");
        store.records().put(KIND, &Digest::of(KIND.as_bytes()), &payload, &[])
    }

    /// Returns the last build of a store, if one is known.
    ///
    /// # Errors
    /// What the store says.
    pub fn of(store: &Store) -> Result<Option<Self>, StoreError> {
        let Lookup::Hit(record) = store.records().get(KIND, &Digest::of(KIND.as_bytes()))? else {
            return Ok(None);
        };
        // What cannot be read was written by another version.
        let json = postcard::from_bytes::<Json>(&record.payload).ok();
        let known = json.and_then(|json| serde_json::from_str::<Self>(&json.0).ok());
        Ok(known.filter(|known| known.format == FORMAT))
    }
}

/// [`Reason`] has its kind in a field, which postcard has no form for.
#[derive(Serialize, Deserialize)]
struct Json(String);

impl Json {
    fn of(build: &ToldBuild) -> Self {
        Self(serde_json::to_string(build).expect("these types always serialize"))
    }
}
