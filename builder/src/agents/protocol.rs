//! What of the agent's protocol is passed on: a step may ask which keys there are and have something signed, and nothing else.
//! It can neither add, remove nor lock keys, whosever agent it is; so has it BuildKit
//! (`session/sshforward/sshprovider/agentprovider.go`, `readOnlyAgent`).
//!
//! | Message (draft-ietf-sshm-ssh-agent) | Passed on |
//! |---|---|
//! | 11, request identities | yes |
//! | 13, sign request | yes |
//! | 27, extension `session-bind@openssh.com` | yes, other than in BuildKit: it tells the agent for which server is signed, so that it can refuse; keys that are only for some servers need it |
//! | others | no, the answer is a failure |

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest message, as OpenSSH has it.
const MESSAGE_BYTES_MAX: u32 = 256 << 10;

const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
const EXTENSION: u8 = 27;
/// The name of an extension, with its length before it.
const SESSION_BIND: &[u8] = b"\0\0\0\x18session-bind@openssh.com";
const FAILURE: &[u8] = &[5];

/// Passes on what a client asks, one question after the other, until it goes.
pub(super) async fn pass_on<C, A>(client: &mut C, agent: &mut A) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(question) = read(client).await? {
        if !is_passed_on(&question) {
            write(client, FAILURE).await?;
            continue;
        }
        write(agent, &question).await?;
        let Some(answer) = read(agent).await? else { return Ok(()) };
        write(client, &answer).await?;
    }
    Ok(())
}

fn is_passed_on(question: &[u8]) -> bool {
    match question {
        [REQUEST_IDENTITIES | SIGN_REQUEST, ..] => true,
        [EXTENSION, extension @ ..] => extension.starts_with(SESSION_BIND),
        _ => false,
    }
}

/// Reads a message; none where the other side has gone.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Ok(length @ 1..=MESSAGE_BYTES_MAX) => u64::from(length),
        Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    // Grows with what comes, not with what is announced.
    let mut message = Vec::new();
    let read = from.take(length).read_to_end(&mut message).await? as u64;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(message)) }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), message].concat()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
    }

    fn extension(name: &str) -> Vec<u8> {
        [&[EXTENSION], &*framed(name.as_bytes()), b"more"].concat()
    }

    #[tokio::test]
    async fn only_listing_and_signing_reach_the_agent() {
        let questions = [
            (vec![REQUEST_IDENTITIES], true),
            ([&[SIGN_REQUEST], &[7; 100_000][..]].concat(), true),
            (extension("session-bind@openssh.com"), true),
            (extension("session-bind@openssh.com.example"), false),
            (extension("query"), false),
            (vec![EXTENSION], false),
        ];
        // Version 1, add, remove, remove all, smart cards, lock, unlock, constrained, unknown ones.
        let others = [1, 3, 9, 12, 14, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 200, 255];
        let others = others.map(|kind| (vec![kind, 0, 0, 0, 0], false));
        for (question, is_allowed) in questions.into_iter().chain(others) {
            let (mut client, mut passed) = tokio::io::duplex(1 << 20);
            let (mut agent, mut asked) = tokio::io::duplex(1 << 20);
            client.write_all(&framed(&question)).await.unwrap();
            agent.write_all(&framed(b"the answer")).await.unwrap();
            client.shutdown().await.unwrap();
            pass_on(&mut passed, &mut asked).await.unwrap();
            drop((passed, asked));
            let (mut heard, mut answer) = (Vec::new(), Vec::new());
            agent.read_to_end(&mut heard).await.unwrap();
            client.read_to_end(&mut answer).await.unwrap();
            let expected: (&[u8], &[u8]) =
                if is_allowed { (&framed(&question), b"the answer") } else { (b"", FAILURE) };
            assert!(heard == expected.0, "message {}", question[0]);
            assert_eq!(answer, framed(expected.1), "message {}", question[0]);
        }
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection_and_reaches_nobody() {
        for bytes in [&[0, 0, 0, 0][..], &[0, 4, 0, 1, 11], &[0xff; 9], &[0, 0, 0, 2, 11], &[0, 0]] {
            let (mut client, mut passed) = tokio::io::duplex(64);
            let (mut agent, mut asked) = tokio::io::duplex(64);
            client.write_all(bytes).await.unwrap();
            client.shutdown().await.unwrap();
            let outcome = pass_on(&mut passed, &mut asked).await;
            assert_eq!(outcome.is_err(), bytes.len() >= 4, "{bytes:?}");
            drop(asked);
            let mut heard = Vec::new();
            agent.read_to_end(&mut heard).await.unwrap();
            assert!(heard.is_empty(), "{bytes:?}");
        }
    }
}
