//! What kiln promises of the layers it makes: names, order, times, links, whiteouts, attributes.

use std::collections::BTreeMap;

use super::archive::{Member, shown};

/// Which times a layer's entries may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// All the same whole second.
    Fixed,
    /// The files' own.
    Preserved,
}

const WHITEOUT: &[u8] = b".wh.";
/// Record keys besides attributes, and the field that would do where the value fits it.
const KEYS: [&[u8]; 6] = [b"gid", b"linkpath", b"mtime", b"path", b"size", b"uid"];

/// Returns what is wrong with the entries of a layer.
pub(crate) fn findings(members: &[Member], times: Times) -> Vec<String> {
    let mut findings = Vec::new();
    let mut seen: BTreeMap<Vec<&[u8]>, &Member> = BTreeMap::new();
    for member in members {
        let name = shown(&member.name);
        let mut wrong = |text: &str| findings.push(format!("entry {name}: {text}"));
        let path = components(member, &mut wrong);
        if seen.last_key_value().is_some_and(|(last, _)| *last >= path) {
            wrong("not in order, or twice");
        }
        // What is above the nearest was looked at when that was the entry.
        let nearest = (1..path.len()).rev().find_map(|length| seen.get(&path[..length]));
        if nearest.is_some_and(|parent| parent.flag != b'5') {
            wrong("lies below something that is no directory");
        }
        check_fields(member, &mut wrong);
        check_records(member, times, &mut wrong);
        if member.flag == b'1' {
            let target: Vec<&[u8]> = member.link.split(|byte| *byte == b'/').collect();
            match seen.get(&target).map(|target| target.flag) {
                Some(b'5') | None => wrong("its target is no file before it"),
                Some(b'1') => wrong("its target is a link itself"),
                Some(_) => {}
            }
        }
        seen.insert(path, member);
    }
    for (path, member) in &seen {
        if let Some(hidden) = path.last().and_then(|name| name.strip_prefix(WHITEOUT)) {
            let twin = [&path[..path.len() - 1], &[hidden]].concat();
            if seen.contains_key(&twin) {
                findings.push(format!("{} removes what its layer sets", shown(&member.name)));
            }
        }
    }
    if times == Times::Fixed {
        let first = members.first().map(|member| &member.mtime);
        let other = members.iter().find(|member| Some(&member.mtime) != first);
        findings.extend(
            other.map(|other| format!("entry {} has another time than the first", shown(&other.name))),
        );
    }
    findings
}

/// The components of a name, which is relative and plain; none for the root.
fn components<'a>(member: &'a Member, wrong: &mut impl FnMut(&str)) -> Vec<&'a [u8]> {
    let (name, is_directory) = match member.name.strip_suffix(b"/") {
        Some(name) => (name, true),
        None => (member.name.as_slice(), false),
    };
    if is_directory != (member.flag == b'5') {
        wrong("a final slash is for directories, and only for them");
    }
    if name == b"." {
        return Vec::new();
    }
    let components: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    if components.iter().any(|part| part.is_empty() || *part == b"." || *part == b".." || part.contains(&0)) {
        wrong("not a plain relative name");
    }
    components
}

fn check_fields(member: &Member, wrong: &mut impl FnMut(&str)) {
    if !matches!(member.flag, b'0'..=b'6') {
        wrong("a type that layers have not");
    }
    if member.mode > 0o7777 || (member.flag == b'2' && member.mode != 0o777) {
        wrong("a mode that is none");
    }
    if member.link.is_empty() == matches!(member.flag, b'1' | b'2') {
        wrong("a target is for links, and only for them");
    }
    if member.device != (0, 0) && !matches!(member.flag, b'3' | b'4') {
        wrong("a device number without a device");
    }
    if member.flag == b'3' && member.device == (0, 0) {
        wrong("the device that means a deletion to overlayfs");
    }
    let name = member.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.starts_with(WHITEOUT) {
        let plain = (member.flag, member.mode, member.uid, member.gid, member.size) == (b'0', 0, 0, 0, 0);
        if !plain || !member.pax.keys().all(|key| key == b"path") || name.len() == WHITEOUT.len() {
            wrong("a whiteout with more than a name");
        }
    }
}

fn check_records(member: &Member, times: Times, wrong: &mut impl FnMut(&str)) {
    for (key, value) in &member.pax {
        let attribute = key.strip_prefix(b"SCHILY.xattr.");
        let is_known = match attribute {
            Some(name) => {
                (name.starts_with(b"user.")
                    && !name.starts_with(b"user.overlay.")
                    && !name.starts_with(b"user.kiln."))
                    || name == b"security.capability"
            }
            None => KEYS.contains(&key.as_slice()),
        };
        if !is_known {
            wrong(&format!("a record that no layer needs: {}", shown(key)));
        }
        let is_needless = match key.as_slice() {
            b"path" => value.is_ascii() && value.len() <= 100,
            b"linkpath" => value.is_ascii() && value.len() <= 100,
            b"mtime" => times == Times::Fixed,
            _ => false,
        };
        if is_needless {
            wrong(&format!("a record for what fits the header: {}", shown(key)));
        }
    }
    if !member.name.is_ascii() && !member.pax.contains_key(&b"path"[..]) {
        wrong("a name beyond ASCII without a record");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, flag: u8) -> Member {
        Member {
            name: name.into(),
            flag,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: "1".to_owned(),
            link: Vec::new(),
            device: (0, 0),
            pax: BTreeMap::new(),
            content: String::new(),
        }
    }

    fn with(mut member: Member, change: fn(&mut Member)) -> Member {
        change(&mut member);
        member
    }

    #[test]
    fn a_good_layer_has_no_findings() {
        let layer = [
            member("./", b'5'),
            member("a/", b'5'),
            with(member("a/.wh.gone", b'0'), |member| member.mode = 0),
            member("a/b", b'0'),
            member("a-b", b'0'),
            with(member("z", b'1'), |member| member.link = b"a/b".to_vec()),
        ];
        assert_eq!(findings(&layer, Times::Fixed), Vec::<String>::new());
    }

    #[test]
    fn every_broken_promise_is_found() {
        let rows: [(&str, Vec<Member>); 14] = [
            ("not in order", vec![member("b", b'0'), member("a", b'0')]),
            ("or twice", vec![member("a", b'0'), member("a", b'0')]),
            ("no directory", vec![member("a", b'0'), member("a/b", b'0')]),
            ("final slash", vec![member("a", b'5')]),
            ("not a plain", vec![member("../a", b'0')]),
            ("not a plain", vec![member("/a", b'0')]),
            ("type that layers", vec![member("a", b'L')]),
            ("a mode that", vec![with(member("a", b'2'), |member| member.link = b"x".to_vec())]),
            ("no file before", vec![with(member("a", b'1'), |member| member.link = b"b".to_vec())]),
            ("means a deletion", vec![member("a", b'3')]),
            ("more than a name", vec![member(".wh.a", b'0')]),
            (
                "removes what its layer sets",
                vec![with(member(".wh.a", b'0'), |member| member.mode = 0), member("a", b'0')],
            ),
            (
                "another time",
                vec![member("a", b'0'), with(member("b", b'0'), |member| member.mtime = "2".to_owned())],
            ),
            (
                "no layer needs",
                vec![with(member("a", b'0'), |member| {
                    member.pax.insert(b"SCHILY.xattr.trusted.overlay.opaque".to_vec(), b"y".to_vec());
                })],
            ),
        ];
        for (expected, layer) in rows {
            let found = findings(&layer, Times::Fixed);
            assert!(found.iter().any(|finding| finding.contains(expected)), "{expected}: {found:?}");
        }
    }
}
