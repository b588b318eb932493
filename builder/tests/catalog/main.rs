//! The catalog and the exporters: archives, layouts, names, imports, a real registry, and what other tools make of them.

mod archives;
mod files;
mod hostile;
mod names;
mod registry;
mod support;
