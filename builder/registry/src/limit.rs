//! The named limits of everything a server can make this room read or repeat.

use std::time::Duration;

/// Longest manifest or index that is read or pushed: what registries themselves allow.
pub(crate) const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// How much of an error's body is looked at.
pub(crate) const ERROR_BODY_BYTES_MAX: usize = 16 << 10;
/// How much of a registry's own error message is shown, in characters.
pub(crate) const ERROR_MESSAGE_CHARS_MAX: usize = 400;
/// Most tokens that one request is made with, where a registry says of each that it ran out; and most times an upload begins a
/// request anew for that, without getting further.
pub(crate) const TOKENS_MAX: u32 = 5;
/// Longest answer of a token server.
pub(crate) const TOKEN_BODY_BYTES_MAX: usize = 1 << 20;
/// Most redirects that one request follows.
pub(crate) const REDIRECTS_MAX: usize = 10;
/// Longest page of a list, such as that of tags.
pub(crate) const PAGE_BYTES_MAX: usize = 4 << 20;
/// Most pages of a list.
pub(crate) const PAGES_MAX: usize = 1000;
/// Longest list, all its pages together.
pub(crate) const PAGES_BYTES_MAX: usize = 64 << 20;
/// Most times one blob is continued after its connection dropped when hardly anything had come or gone, or a registry took hardly
/// anything of a part.
pub(crate) const RESUMES_MAX: u32 = 50;
/// What moved more than this before it dropped is continued as often as it takes: so large a step brings the end nearer.
pub(crate) const RESUME_BYTES: u64 = 1 << 20;
/// Most times a list of what refers to an image is written, where others write it at the same time.
pub(crate) const REFERRER_PUTS_MAX: u32 = 5;
/// Most `WWW-Authenticate` challenges of one answer that are looked at.
pub(crate) const CHALLENGES_MAX: usize = 16;
/// Longest `WWW-Authenticate` header that is looked at.
pub(crate) const CHALLENGE_BYTES_MAX: usize = 16 << 10;
/// Longest credentials file, and longest answer of a credential helper.
pub(crate) const CREDENTIALS_BYTES_MAX: u64 = 4 << 20;
/// How long a credential helper may take.
pub(crate) const HELPER_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest wait that a server may ask for with `Retry-After`; one that asks for more is not asked again.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// Blobs up to this size are uploaded in one request; larger ones in a session that can be continued.
pub(crate) const MONOLITHIC_BYTES_MAX: u64 = 1 << 20;
/// What one request of an upload carries.
pub(crate) const CHUNK_BYTES: u64 = 64 << 20;
/// What one request carries at least, however little a registry wants.
pub(crate) const CHUNK_BYTES_MIN: u64 = 1 << 20;
/// Longest certificate or key file.
pub(crate) const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;
/// Objects up to this size are written in one request; of larger ones so much can be lost to a broken connection.
pub(crate) const OBJECT_PART_BYTES: u64 = 64 << 20;
/// Most parts of an object: what S3 allows. Parts of very large objects are larger.
pub(crate) const OBJECT_PARTS_MAX: u16 = 10_000;
