//! Walks a directory side by side and asks the kernel about every name, and does nothing else: what an unchanged context costs
//! at the least. `benches/whole_builds.py` measures builds in multiples of it.
//!
//! Prints how many names there are, and the seconds of the quickest of five walks.

use std::fs::File;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::time::Instant;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};

const WALKS: usize = 5;

#[expect(clippy::print_stdout, reason = "the result")]
fn main() -> std::io::Result<()> {
    let root: PathBuf = std::env::args_os().nth(1).unwrap_or_else(|| ".".into()).into();
    let mut quickest = f64::INFINITY;
    let mut names = 0;
    for _ in 0..WALKS {
        let started = Instant::now();
        names = walk(&File::open(&root)?)?;
        quickest = quickest.min(started.elapsed().as_secs_f64());
    }
    println!("{names} {quickest:.6}");
    Ok(())
}

fn walk(directory: &File) -> std::io::Result<usize> {
    let mut buffer: [MaybeUninit<u8>; 32 * 1024] = [MaybeUninit::uninit(); 32 * 1024];
    let mut names = RawDir::new(directory, &mut buffer);
    let (mut count, mut below) = (0, Vec::new());
    while let Some(name) = names.next() {
        let name = name?;
        if matches!(name.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        count += 1;
        let stat = rustix::fs::statat(directory, name.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            below.push(File::from(rustix::fs::openat(directory, name.file_name(), flags, Mode::empty())?));
        }
    }
    let inside: std::io::Result<usize> = below.par_iter().with_max_len(1).map(walk).sum();
    Ok(count + inside?)
}
