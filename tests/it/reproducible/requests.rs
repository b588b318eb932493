//! What is built in every way: one request for each road that bytes can take into a layer.

use std::fs;
use std::path::Path;

use crate::support::sketch::{self, Node};

/// One request.
pub(crate) struct Request {
    /// What it is about.
    pub(crate) name: &'static str,
    dockerfile: &'static str,
    archives: &'static [(&'static str, &'static str)],
}

/// Copies of a context: whole, in part, with other owners.
pub(crate) const COPY: Request = Request {
    name: "copy",
    dockerfile: "FROM scratch\nCOPY . /all/\nCOPY --chown=5:6 --chmod=750 b /b/\nWORKDIR /w/x\nENV PATH=/bin\n",
    archives: &[],
};

/// Copies from a stage, over it, and apart from what lies below.
pub(crate) const COPY_FROM: Request = Request {
    name: "copy-from",
    dockerfile: "FROM scratch AS one\nCOPY . /x/\nCOPY --chmod=u=rwX,go= b /x/b\n\
        FROM scratch\nCOPY --from=one /x/ /y/\nCOPY --from=one --chown=7 /x/links /y/b/\nCOPY --from=one --link /x/large /l/\n",
    archives: &[],
};

/// Archives with what only root could put on disk.
pub(crate) const ADD: Request = Request {
    name: "add",
    dockerfile: "FROM scratch\nADD one.tar /\nADD one.tar two.tar.gz /d/\nADD --chown=8:9 two.tar.gz three.tar.zst /e/\nADD three.tar.zst links /f/\n",
    archives: &[("one.tar", PRIVILEGED), ("two.tar.gz", MORE), ("three.tar.zst", PRIVILEGED)],
};

/// Steps that make, change, link, give away and remove.
pub(crate) const RUN: Request = Request {
    name: "run",
    dockerfile: "FROM busybox\n\
        RUN mkdir -p /o/d && for i in 5 4 3 2 1; do echo $i > /o/d/$i; done && ln /o/d/1 /o/h && chown 1:2 /o/d/2 && chmod 4711 /o/d/2\n\
        COPY b /data\nRUN cp -a /data /copy && rm -r /data/a && touch /o/now && ln -s nowhere /o/l && mkdir -m 1777 /o/t\n\
        USER 70:80\nRUN id > /o/t/who && umask > /o/t/umask && env | sort > /o/t/env\n",
    archives: &[],
};

const PRIVILEGED: &str = "d/ @2750,1,2\nd/big: b @644,70000,3000000\nd/suid: s @6755,3,4\nd/first: linked @600,5,6\n\
    d/second = d/first @600,5,6\nnull%1:3 @666,0,0\ndisk&8:1 @660,0,6\npipe| @600,1,1\nl -> d/first\n\\xc3\\xa4: a\n\
    d/attribute: a @644,0,0 +user.x=y\nd/capable: c @755,0,0 +security.capability=\\x01\\x00\\x00\\x02\\x00\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\n";
const MORE: &str = "z:: 300000\na/ @700,9,9\na/b: b @4755,9,9\n";

/// Names that sort differently by locale, attributes, links, an empty file, a large one, enough to cut into blocks.
const FILES: &str = "empty: \nlarge:: 900001\nb/\nb/a-b: 1\nb/a_b: 2\nb/aB: 3\nb/AB: 4\nb/a/\nb/a/b/ @700\nb/a/b/c: deep\n\
    b/\\xe9: not UTF-8\nb/attribute: a +user.note=n\\xef +user.a=1\nlinks/\nlinks/one: shared @640\n\
    links/three = links/one\nlinks/two = links/one\nlinks/l -> one\nlinks/pipe|\n";

impl Request {
    /// Lays out the context at `root`, forwards or backwards.
    pub(crate) fn lay_out(&self, root: &Path, backwards: bool) {
        let mut nodes = sketch::parse(FILES);
        nodes.extend(
            (0..150).map(|number| {
                sketch::parse(&format!("b/{}/f{number}:: {}", number % 7, number * 40)).remove(0)
            }),
        );
        let (links, mut others): (Vec<Node>, Vec<Node>) =
            nodes.into_iter().partition(|node| matches!(node.kind, sketch::Kind::Link(_)));
        if backwards {
            others.reverse();
        }
        others.extend(links);
        sketch::put(&others, root);
        fs::write(root.join("Dockerfile"), self.dockerfile).unwrap();
        for (name, text) in self.archives {
            fs::write(root.join(name), sketch::compressed(name, &sketch::archive(&sketch::parse(text))))
                .unwrap();
        }
        for path in ["Dockerfile"].into_iter().chain(self.archives.iter().map(|(name, _)| *name)) {
            fs::set_permissions(root.join(path), std::os::unix::fs::PermissionsExt::from_mode(0o644))
                .unwrap();
        }
    }
}
