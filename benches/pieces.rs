//! The hot pieces, each alone: parse a Dockerfile, walk a context, write a layer, read one back.
//!
//! Fixtures are made here and stored nowhere. `cargo bench --bench pieces` compares with the run before.
#![expect(clippy::unwrap_used, reason = "a bench ends where its surroundings fail")]

use std::hint::black_box;
use std::io::BufReader;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kiln_frontend::parse;
use kiln_frontend::source::Source;
use kiln_layer::compress::decompress_layer;
use kiln_layer::{
    Changes, CommitOptions, Compression, LayerTime, NoLayers, Tree, Verdict, WalkOptions, WalkOwner,
    WalkXattrs, commit, walk,
};

const FILES: usize = 5_000;

criterion_group!(pieces, parsing, walking, writing, reading);
criterion_main!(pieces);

fn parsing(criterion: &mut Criterion) {
    let stage = |number: usize| {
        format!(
            "FROM base{number} AS stage{number}\nARG VERSION=1.{number}\nENV PATH=/opt/bin:$PATH \\\n    NAME=\"a b\"\n\
             RUN --mount=type=cache,target=/var/cache apt-get update && \\\n    # a remark\n    apt-get install -y a{number}\n\
             COPY --from=stage{number} --chown=1:1 src/ dst/\nRUN <<EOF\nset -e\necho {number}\nEOF\n"
        )
    };
    let text: String = (0..100).map(stage).collect();
    let mut group = criterion.benchmark_group("frontend");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse 100 stages", |bencher| {
        bencher.iter_batched(
            || Source::new("Dockerfile", text.clone()),
            |source| black_box(parse(&source)),
            BatchSize::SmallInput,
        );
    });
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
