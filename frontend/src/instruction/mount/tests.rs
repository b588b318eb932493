use super::*;
use crate::source::Span;

fn parse(text: &str) -> Result<Mount, String> {
    let mut expand = |value: &str| Ok(value.replace("$N", "7"));
    parse_mount(text, &mut expand).map_err(|error| error.to_string())
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn mounts_are_read_with_every_key_under_all_its_names() {
    let bind = Mount { is_read_only: true, ..Mount::default() };
    let cases = [
        ("target=/x", Mount { target: some("/x"), ..bind.clone() }),
        ("dst=/x,rw", Mount { target: some("/x"), is_read_only: false, ..bind.clone() }),
        ("DESTINATION=/x,ReadWrite=false", Mount { target: some("/x"), ..bind.clone() }),
        ("type=bind,from=a,src=/s,target=/x,ro=F", {
            let from = some("a");
            Mount { from, source: some("/s"), target: some("/x"), is_read_only: false, ..bind.clone() }
        }),
        ("type=CACHE,id=c-$N,target=/c,sharing=Locked,mode=0700,uid=1,gid=2", {
            let kind = MountKind::Cache;
            let owner = Mount { mode: Some(0o700), uid: Some(1), gid: Some(2), ..Mount::default() };
            Mount { kind, id: some("c-7"), target: some("/c"), sharing: Some(Sharing::Locked), ..owner }
        }),
        ("type=tmpfs,target=/t,size=2m", {
            let size_bytes_max = Some(2 << 20);
            Mount { kind: MountKind::Tmpfs, target: some("/t"), size_bytes_max, ..Mount::default() }
        }),
        ("type=secret,id=s,env=TOKEN,required", {
            let secret = Mount { kind: MountKind::Secret, id: some("s"), env: some("TOKEN"), ..bind.clone() };
            Mount { is_required: true, ..secret }
        }),
        ("type=ssh", Mount { kind: MountKind::Ssh, ..bind.clone() }),
        ("\"source=a,\"\"b\",target=/x", Mount { source: some("a,\"b"), target: some("/x"), ..bind }),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_wrong_mount_names_what_is_wrong_with_it_and_where() {
    let cases = [
        ("type=bnid,target=/x", "unsupported mount type \"bnid\" at `bnid`: did you mean `bind`?"),
        (
            "type=cache,sharing=lokced",
            "unsupported sharing value \"lokced\" at `lokced`: did you mean `locked`?",
        ),
        ("a=1,tagret=/x", "unexpected key 'a' in 'a=1' at `a`"),
        ("rw,tagret=/x", "unexpected key 'tagret' in 'tagret=/x' at `tagret`: did you mean `target`?"),
        ("type=bind,target", "invalid field 'target' must be a key=value pair at `target`"),
        ("target=/x,ro=flase", "invalid value for ro: flase at `flase`: did you mean `false`?"),
        (
            "target=/x,required",
            "unexpected key 'required' for mount type 'bind' at `required`: `required` is for `type=secret` and `type=ssh`",
        ),
        (
            "target=/x,size=1m",
            "unexpected key 'size' for mount type 'bind' at `size`: `size` is for `type=tmpfs`",
        ),
        (
            "uid=1,target=/x",
            "unexpected key 'uid' for mount type 'bind' at `uid`: `uid` is for `type=secret` and `type=ssh` and `type=cache`",
        ),
        ("type=cache,uid=root", "invalid value for uid: root at `root`"),
        ("type=cache,mode=0o7", "invalid value for mode: 0o7 at `0o7`"),
        ("type=tmpfs,size=many", "invalid value for size: many at `many`"),
        (
            "type=tmpfs,sharing=shared",
            "unexpected key 'sharing' for mount type 'tmpfs' at `sharing`: `sharing` is for `type=cache`",
        ),
        ("type=secret", "invalid secret mount. one of source, target required at `type=secret`"),
        ("type=secret,id=a,source=b", "both source and id can't be set at `type=secret,id=a,source=b`"),
        ("type=secret,id=a,from=b", "secret mount should not have a from at `type=secret,id=a,from=b`"),
        ("", "failed to parse csv: there is nothing at ``"),
        (
            "rw,target=\"/x\"",
            "failed to parse csv: a quote inside a field that is not quoted at `target=\"/x\"`",
        ),
        ("rw,\"target=/x", "failed to parse csv: a quote without its partner at `\"target=/x`"),
        ("\"rw\"x", "failed to parse csv: text behind a quoted field at `x`"),
        ("\"type=bnid\"", "unsupported mount type \"bnid\" at `bnid`: did you mean `bind`?"),
        (
            "\"type=b\"\"nid\"",
            "unexpected end of statement while looking for matching double-quote at `type=b\"\"nid`",
        ),
        ("target=/x/${E?}", "E: is not allowed to be unset at `${E?}`"),
    ];
    for (text, expected) in cases {
        let mut expand = |value: &str| {
            let expanded = crate::expand::Lexer::new('\\').expand_located(value, &crate::expand::NoVariables);
            expanded.map(|expansion| expansion.text)
        };
        let problem = parse_mount(text, &mut expand).unwrap_err();
        let said =
            problem.diagnostic("mount", &Word { text: text.to_owned(), span: Span::new(0, text.len()) });
        let mut found = format!("{} at `{}`", said.message, &text[said.primary().unwrap().range()]);
        if let Some(help) = said.help {
            found.push_str(&format!(": {help}"));
        }
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn sizes_count_in_steps_of_1024() {
    let cases = [
        ("512", Some(512)),
        ("512b", Some(512)),
        ("1k", Some(1024)),
        ("1.5KiB", Some(1536)),
        ("2 MB", Some(2 << 20)),
        ("1g", Some(1 << 30)),
        ("1kk", None),
        ("1kib2", None),
        ("-1", None),
        ("1e30p", None),
        ("", None),
        ("k", None),
    ];
    for (text, expected) in cases {
        assert_eq!(size(text), expected, "{text}");
    }
}

#[test]
fn the_stage_of_a_mount_is_known_before_expansion() {
    let two = ("two".to_owned(), 24..27);
    assert_eq!(source_stage("type=bind,FROM=one,from=two,target=$x"), Ok(Some(two)));
    assert_eq!(source_stage("target=/x"), Ok(None));
    assert_eq!(source_stage("from="), Ok(None));
    let error = MountError::VariableInFrom;
    assert_eq!(source_stage("rw,from=$x"), Err(MountProblem { error, range: 8..10 }));
}

#[test]
fn a_device_has_a_name_and_may_be_required() {
    let cases = [
        ("vendor.com/class=name", Ok(("vendor.com/class=name".to_owned(), false))),
        ("gpu,required", Ok(("gpu".to_owned(), true))),
        ("name=gpu,required=false", Ok(("gpu".to_owned(), false))),
        ("gpu,name=other", Err("device name already set to gpu".to_owned())),
        ("gpu,requierd=true", Err("unexpected key 'requierd' in 'requierd=true'".to_owned())),
        ("gpu,more", Err("invalid field 'more' must be a key=value pair".to_owned())),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_device(text).map_err(|error| error.to_string()), expected, "{text}");
    }
}
