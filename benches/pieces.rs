//! The hot pieces, each alone: parse a Dockerfile, walk a context, match an ignore file, write a layer, read one back, find the file
//! that changed.
//!
//! Fixtures are made here and stored nowhere. `cargo bench --bench pieces` compares with the run before. What a walk costs
//! with an ignore file is printed as a ratio to what it costs without, measured in turns.
#![expect(clippy::unwrap_used, reason = "a bench ends where its surroundings fail")]

use std::hint::black_box;
use std::io::{BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kiln_builder::explain::FileList;
use kiln_frontend::dockerignore::{Directory, Matcher};
use kiln_frontend::parse;
use kiln_frontend::source::Source;
use kiln_layer::compress::decompress_layer;
use kiln_layer::{
    ArchivePath, Changes, CommitOptions, Compression, Content, ContentDigest, DirectoryOrigin, Entry,
    LayerTime, Metadata, NoCache, NoLayers, Place, Rules, Tree, Verdict, WalkOptions, WalkOwner, WalkXattrs,
    commit, walk, walk_by_rules, walk_origin,
};
use kiln_oci::Digest;
use kiln_store::Store;

const FILES: usize = 5_000;
/// Files of a selection in which the one that changed is found.
const SELECTED_FILES: usize = 50_000;
const LINES_OF_STAGE: usize = 12;
/// Files of the context that an ignore file is measured with.
const IGNORE_FILES: usize = 100_000;
/// Walks whose fastest counts.
const TURNS: usize = 7;

criterion_group!(pieces, parsing, walking, ignoring, writing, reading, explaining);
criterion_main!(pieces);

fn parsing(criterion: &mut Criterion) {
    let stage = |number: usize| {
        format!(
            "FROM base{number} AS stage{number}\nARG VERSION=1.{number}\nENV PATH=/opt/bin:$PATH \\\n    NAME=\"a b\"\n\
             RUN --mount=type=cache,target=/var/cache apt-get update && \\\n    # a remark\n    apt-get install -y a{number}\n\
             COPY --from=stage{number} --chown=1:1 src/ dst/\nRUN <<EOF\nset -e\necho {number}\nEOF\n"
        )
    };
    let mut group = criterion.benchmark_group("frontend");
    for (name, stages) in
        [("parse 100 stages", 100), ("parse 10,000 lines", 10_000_usize.div_ceil(LINES_OF_STAGE))]
    {
        let text: String = (0..stages).map(stage).collect();
        assert_eq!(text.lines().count(), stages * LINES_OF_STAGE);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || Source::new("Dockerfile", text.clone()),
                |source| black_box(parse(&source)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn context() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        let directory = root.path().join(format!("{:02}", number % 50));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("file{number}")), format!("{number}\n").repeat(number % 400))
            .unwrap();
    }
    root
}

fn walked(root: &Path) -> Tree {
    let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::None };
    walk(root, &|_, _| Verdict::Keep, options).unwrap()
}

fn walking(criterion: &mut Criterion) {
    let root = context();
    let mut group = criterion.benchmark_group("context");
    group.throughput(Throughput::Elements(FILES as u64)).sample_size(20);
    group.bench_function("walk 5,000 files", |bencher| bencher.iter(|| black_box(walked(root.path()))));
    group.finish();
}

/// Two hundred patterns as projects have them: names, extensions, directories, at the top and anywhere, and exceptions.
fn ignore_file() -> String {
    let repeat = |count: usize, line: fn(usize) -> String| (0..count).map(line).collect::<String>();
    [
        repeat(40, |number| format!("**/build{number}\n")),
        repeat(40, |number| format!("**/*.ext{number}\n")),
        repeat(40, |number| format!("top{number}\n")),
        repeat(20, |number| format!("{number}/3/*.tmp{number}\n")),
        repeat(20, |number| format!("**/test_*_{number}\n")),
        repeat(10, |number| format!("docs{number}/**\n")),
        repeat(10, |number| format!("a{number}*\n")),
        repeat(10, |number| format!("!**/keep{number}/*.md\n")),
        repeat(10, |number| format!("**/[Bb]in{number}\n")),
    ]
    .concat()
}

/// An ignore file's part in a walk, as the builder has it.
struct Ignored<'a>(&'a Matcher);

impl<'a> Rules for Ignored<'a> {
    type Directory = Directory<'a>;

    fn root(&self) -> Directory<'a> {
        self.0.top()
    }

    fn judge(&self, above: &Directory<'a>, place: Place<'_>) -> Verdict {
        if above.excludes(place.name()) { Verdict::Skip } else { Verdict::Keep }
    }

    fn enter(&self, above: &Directory<'a>, place: Place<'_>) -> (Verdict, Directory<'a>) {
        let directory = above.enter(place.name());
        (if directory.is_excluded() { Verdict::Skip } else { Verdict::Keep }, directory)
    }
}

fn ignoring(criterion: &mut Criterion) {
    let root = tempfile::tempdir().unwrap();
    let extensions = ["rs", "o", "txt", "md", "json"];
    for directory in 0..1000 {
        let path = root.path().join(format!("{}/{}", directory / 10, directory % 10));
        std::fs::create_dir_all(&path).unwrap();
        for number in 0..IGNORE_FILES / 1000 {
            std::fs::write(path.join(format!("file{number}.{}", extensions[number % 5])), "x").unwrap();
        }
    }
    let origin = Arc::new(DirectoryOrigin::open(root.path()).unwrap());
    let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::Layer };
    let matcher = Matcher::parse(ignore_file().as_bytes()).unwrap();
    let (mut plain, mut ignored) = (f64::MAX, f64::MAX);
    for _ in 0..TURNS {
        plain = plain.min(seconds(|| walk_origin(&origin, &|_, _| Verdict::Keep, options).unwrap()));
        ignored =
            ignored.min(seconds(|| walk_by_rules(&origin, &Ignored(&matcher), options, &NoCache).unwrap()));
    }
    let alone =
        match_alone(criterion, &matcher, &walk_origin(&origin, &|_, _| Verdict::Keep, options).unwrap());
    let mut said = std::io::stderr();
    writeln!(
        said,
        "walk of {IGNORE_FILES} files: {:.0} ms; with {} patterns {:.2} times that; matching alone {:.2}",
        plain * 1e3,
        matcher.rules().len(),
        ignored / plain,
        alone / plain,
    )
    .unwrap();
}

/// Matches all paths of a tree, without a walk; returns the fastest in seconds.
fn match_alone(criterion: &mut Criterion, matcher: &Matcher, tree: &Tree) -> f64 {
    let root = ArchivePath::root();
    let names = |(path, entry): (&'_ ArchivePath, &Entry)| {
        let names: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        (names, entry.is_directory())
    };
    let paths: Vec<_> = tree.below(&root).map(names).collect();
    let pass = || {
        let mut above = vec![matcher.top()];
        for (names, is_directory) in &paths {
            above.truncate(names.len());
            let (name, directory) = (&names[names.len() - 1], &above[above.len() - 1]);
            if *is_directory {
                above.push(directory.enter(name));
            } else {
                black_box(directory.excludes(name));
            }
        }
    };
    let mut group = criterion.benchmark_group("ignore");
    group.throughput(Throughput::Elements(paths.len() as u64)).sample_size(20);
    group.bench_function("match 100,000 paths with 200 patterns", |bencher| bencher.iter(pass));
    group.finish();
    (0..TURNS).map(|_| seconds(pass)).fold(f64::MAX, f64::min)
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn layer(changes: &Changes, compression: Compression) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = CommitOptions { time: LayerTime::Fixed(315_532_800), compression };
    commit(changes, &NoLayers, &options, &mut bytes).unwrap();
    bytes
}

fn changes(root: &Path) -> Changes {
    Changes { entries: walked(root), ..Changes::new() }
}

fn writing(criterion: &mut Criterion) {
    let root = context();
    let changes = changes(root.path());
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Bytes(layer(&changes, Compression::None).len() as u64)).sample_size(10);
    for (name, compression) in [
        ("uncompressed", Compression::None),
        ("gzip", Compression::default()),
        ("zstd", Compression::Zstd(3)),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| black_box(layer(&changes, compression))));
    }
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let root = context();
    let changes = changes(root.path());
    let mut group = criterion.benchmark_group("decompress");
    group.throughput(Throughput::Bytes(layer(&changes, Compression::None).len() as u64)).sample_size(10);
    for (name, compression) in [("gzip", Compression::default()), ("zstd", Compression::Zstd(3))] {
        let blob = layer(&changes, compression);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut reader = decompress_layer(BufReader::new(blob.as_slice()), None).unwrap();
                black_box(std::io::copy(&mut reader, &mut std::io::sink()).unwrap())
            });
        });
    }
    group.finish();
}

/// The same files twice, one of them with another content.
fn selections() -> [Vec<(ArchivePath, Entry)>; 2] {
    let file = |number: usize, text: String| {
        let path = format!("src/{:02}/{}/file{number:05}.txt", number % 100, number % 7);
        let mut content = Content::inline(text.clone().into_bytes());
        content.digest = Some(ContentDigest::of(text.as_bytes()));
        (ArchivePath::parse(path.as_bytes()).unwrap(), Entry::file(Metadata::with_mode(0o644), content))
    };
    [0, 1].map(|change| {
        let changed = |number: usize| if number == SELECTED_FILES / 2 { change } else { 0 };
        let mut files: Vec<_> =
            (0..SELECTED_FILES).map(|number| file(number, format!("{number} {}", changed(number)))).collect();
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        files
    })
}

/// What a miss adds to the step that missed: list what it selects, read the list of its earlier version, compare.
fn explaining(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [was, is] = selections();
    let (before, after, key) = (Digest::of(b"before"), Digest::of(b"after"), Digest::of(b"key"));
    let list = |selection, files: &[(ArchivePath, Entry)]| {
        let files: Vec<_> = files.iter().map(|(path, entry)| (path, entry)).collect();
        FileList::new(selection, &files)
    };
    list(before, &was).keep(&store, &key).unwrap();
    let mut group = criterion.benchmark_group("explain");
    group.throughput(Throughput::Elements(SELECTED_FILES as u64)).sample_size(20);
    group.bench_function("find the one of 50,000 files that changed", |bencher| {
        bencher.iter(|| {
            let changes = FileList::of(&store, &key, before).unwrap().changes_to(&list(after, &is));
            assert_eq!(changes.len(), 1);
            changes
        });
    });
    group.finish();
}
