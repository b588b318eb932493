//! The way of a blob's bytes out of the store: while pieces are written, the next are read, and checked with it. Knows nothing of
//! archives and directories.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::lanes::beside;

const PIECE_BYTES: usize = 1 << 20;
/// So many pieces wait to be written at most: enough that neither side stops when the other is kept from running for a moment.
const PIECES_MAX: usize = 8;

/// The side on which a transfer failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The bytes could not be read, or are not what they should be.
    Read(io::Error),
    /// They could not be written.
    Write(io::Error),
}

/// Copies all that `reader` has to `out`; returns how many bytes that was. What was read before a failure is written.
pub(super) fn transfer(reader: &mut (dyn Read + Send), out: &mut (dyn Write + Send)) -> Result<u64, Failed> {
    let (full, to_write) = sync_channel(PIECES_MAX);
    let (used, to_fill) = channel();
    let (read, written) =
        beside(move || read_pieces(reader, &full, &to_fill), move || write_pieces(out, to_write, &used));
    let total = written.map_err(Failed::Write)?;
    read.map_err(Failed::Read)?;
    Ok(total)
}

fn read_pieces(
    reader: &mut dyn Read,
    full: &SyncSender<Vec<u8>>,
    to_fill: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let mut piece = to_fill.try_recv().unwrap_or_default();
        piece.resize(PIECE_BYTES, 0);
        match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => piece.truncate(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        // The writer has failed, and says so itself.
        if full.send(piece).is_err() {
            return Ok(());
        }
    }
}

fn write_pieces(out: &mut dyn Write, to_write: Receiver<Vec<u8>>, used: &Sender<Vec<u8>>) -> io::Result<u64> {
    let mut total = 0;
    for piece in to_write {
        out.write_all(&piece)?;
        total += piece.len() as u64;
        // The reader may have ended, and needs no more room.
        used.send(piece).unwrap_or_default();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_and_a_failure_is_told_by_its_side() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        struct Damaged;
        impl Read for Damaged {
            fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        let bytes = b"some text ".repeat(PIECE_BYTES / 4);
        for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, bytes.len()] {
            let mut out = Vec::new();
            let count = transfer(&mut &bytes[..length], &mut out).unwrap();
            assert!(count == length as u64 && out == bytes[..length], "{length}");
            let mut out = Vec::new();
            let failed = transfer(&mut (&bytes[..length]).chain(Damaged), &mut out);
            assert!(matches!(failed, Err(Failed::Read(_))) && out == bytes[..length], "{length}");
        }
        assert!(matches!(transfer(&mut &bytes[..], &mut Full), Err(Failed::Write(_))));
    }
}
