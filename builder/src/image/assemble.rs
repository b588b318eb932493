//! From a file system and a configuration to the documents of an image. Pure.

use kiln_oci::{
    Descriptor, DiffId, Document, HistoryEntry, ImageConfig, Index, Manifest, MediaType, Platform,
};

use crate::plan::{Op, Output, Plan, StepId};
use crate::request::Compat;
use crate::rootfs::Rootfs;

/// BuildKit's remark on the history lines it writes.
const BUILDKIT_COMMENT: &str = "buildkit.dockerfile.v0";
/// What the history says of layers it has no line for: base images without a complete history.
const UNKNOWN_LINE: &str = "layer of the base image, without a history";

/// What an image is made from.
#[derive(Debug, Clone, Copy)]
pub struct ImageParts<'a> {
    /// The plan the output belongs to.
    pub plan: &'a Plan,
    /// The output.
    pub output: &'a Output,
    /// Its file system.
    pub rootfs: &'a Rootfs,
    /// Time of the documents, in seconds since 1970.
    pub time: i64,
    /// Whose texts the history has.
    pub compat: Compat,
}

/// The documents of one image.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// The configuration.
    pub config: Document<ImageConfig>,
    /// The manifest.
    pub manifest: Document<Manifest>,
    /// The image's platform.
    pub platform: Platform,
}

impl Assembled {
    /// Returns the descriptor of the manifest.
    pub fn descriptor(&self) -> Descriptor {
        self.manifest.descriptor(MediaType::OCI_MANIFEST)
    }
}

/// Writes the documents of an image.
pub fn assemble(parts: ImageParts<'_>) -> Assembled {
    let ImageParts { output, rootfs, time, .. } = parts;
    let mut config = output.config.clone();
    config.created = Some(rfc3339(time));
    config.rootfs.diff_ids = rootfs.diff_ids().collect::<Vec<DiffId>>();
    config.history = history(parts);
    let config = Document::write(config);
    let layers = rootfs.layers.iter().map(|layer| oci_descriptor(&layer.blob)).collect();
    let manifest = Document::write(Manifest::oci(config.descriptor(MediaType::OCI_CONFIG), layers));
    Assembled { config, manifest, platform: output.platform.clone() }
}

/// Writes the index of several images.
pub fn index(images: &[Assembled]) -> Document<Index> {
    let entries = images.iter().map(|image| {
        let mut entry = image.descriptor();
        entry.platform = Some(image.platform.clone());
        entry
    });
    Document::write(Index::oci(entries.collect()))
}

/// Returns the layer's descriptor as an OCI manifest has it: Docker's types become OCI's, and only what identifies the blob
/// stays.
pub fn oci_descriptor(blob: &Descriptor) -> Descriptor {
    let mut descriptor = Descriptor::new(blob.media_type.to_oci(), blob.digest, blob.size);
    descriptor.urls.clone_from(&blob.urls);
    descriptor
}

fn history(parts: ImageParts<'_>) -> Vec<HistoryEntry> {
    let ImageParts { plan, output, rootfs, time, compat } = parts;
    let chain = chain(plan, output.root);
    let base_layers = rootfs.layers.len() - rootfs.made.iter().filter(|made| **made).count();
    let mut entries = repaired(output.config.history.clone(), base_layers);
    for line in &output.history {
        let position = line.step.and_then(|step| chain.iter().position(|known| *known == step));
        let made = position.is_some_and(|position| rootfs.made.get(position).copied().unwrap_or_default());
        entries.push(HistoryEntry {
            created: Some(rfc3339(time)),
            created_by: Some(line.created_by.clone()),
            comment: (compat == Compat::BuildKit).then(|| BUILDKIT_COMMENT.to_owned()),
            empty_layer: !made,
            ..HistoryEntry::default()
        });
    }
    entries
}

/// Returns a history with as many lines that are not empty as the base has layers.
pub fn repaired(mut entries: Vec<HistoryEntry>, layers: usize) -> Vec<HistoryEntry> {
    let mut full = entries.iter().filter(|entry| !entry.empty_layer).count();
    while full < layers {
        let created_by = Some(UNKNOWN_LINE.to_owned());
        entries.push(HistoryEntry { created_by, ..HistoryEntry::default() });
        full += 1;
    }
    for entry in entries.iter_mut().rev() {
        if full > layers && !entry.empty_layer {
            entry.empty_layer = true;
            full -= 1;
        }
    }
    entries
}

/// Returns the transforms that lead to `root`, first one first.
fn chain(plan: &Plan, root: StepId) -> Vec<StepId> {
    let mut chain = Vec::new();
    let mut step = root;
    while let Some(parent) = plan.step(step).op.parent() {
        assert!(
            matches!(plan.step(step).op, Op::Run(_) | Op::Copy(_) | Op::MakeDir(_)),
            "only transforms have parents"
        );
        chain.push(step);
        step = parent;
    }
    chain.reverse();
    chain
}

/// Returns an instant as documents have it: `1980-01-01T00:00:00Z`. Years beyond 9999 and before 0 are clamped.
pub fn rfc3339(seconds: i64) -> String {
    let seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from days, after Howard Hinnant's `civil_from_days`: years begin in March, eras have 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{HistoryLine, MakeDirOp, Origin};
    use crate::rootfs::Layer;
    use kiln_oci::Digest;

    #[test]
    fn instants_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (315_532_800, "1980-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_577_934_245, "2020-01-02T03:04:05Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn history_has_as_many_full_lines_as_there_are_layers() {
        let mut plan = Plan::default();
        let base = plan.push(Op::Scratch, Origin::default());
        let make = |parent, path: &str| {
            Op::MakeDir(MakeDirOp { parent, path: path.to_owned(), user: String::new() })
        };
        let first = plan.push(make(base, "/a"), Origin::default());
        let second = plan.push(make(first, "/b"), Origin::default());
        let line = |text: &str, step| HistoryLine { created_by: text.to_owned(), step };
        let output = Output {
            root: second,
            platform: Platform::linux("amd64"),
            config: ImageConfig::empty(&Platform::linux("amd64")),
            history: vec![line("ENV", None), line("one", Some(first)), line("two", Some(second))],
        };
        let digest = Digest::of(b"x");
        let layer =
            Layer { diff_id: DiffId(digest), blob: Descriptor::new(MediaType::DOCKER_LAYER_GZIP, digest, 1) };
        let based = Rootfs { layers: vec![layer.clone()], made: Vec::new() };
        let rootfs = based.with(Some(layer)).with(None);
        let parts =
            ImageParts { plan: &plan, output: &output, rootfs: &rootfs, time: 0, compat: Compat::Kiln };
        let image = assemble(parts);
        let empty: Vec<_> = image.config.value().history.iter().map(|entry| entry.empty_layer).collect();
        assert_eq!(empty, [false, true, false, true]);
        assert_eq!(image.manifest.value().layers[0].media_type, MediaType::OCI_LAYER_GZIP);
    }
}
