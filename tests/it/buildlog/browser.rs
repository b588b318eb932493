//! The report in a browser: nothing overlaps, overflows or runs, whatever a build is called and prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Scene;
use crate::support::requires;

/// Widths of the windows that the page is looked at in.
const WIDTHS: [u64; 3] = [360, 800, 1400];
/// A file that is copied.
const HOSTILE_FILE: &str = "</title><script>document.title=2</script>";
const MEASURE: &str = include_str!("measure.js");

/// Many stages that copy from each other, a step that prints what could break a page, and one that fails.
fn dockerfile() -> String {
    let hostile = "</pre></script><script>document.title=1</script><img src=x onerror=alert(1)>\\033[31m\\377\\000\\342\\200\\256end";
    let long = "x".repeat(900);
    let mut text = String::from("FROM busybox AS base\nRUN seq 20000 > /numbers\n");
    for stage in 0..6 {
        text.push_str(&format!("FROM base AS stage{stage}\nRUN echo {stage} > /{stage}\n"));
        if stage > 1 {
            text.push_str(&format!("COPY --from=stage{} /numbers /from\n", stage - 2));
        }
    }
    text.push_str("FROM base\nRUN printf '");
    text.push_str(hostile);
    text.push_str(&format!(
        "'\nRUN cat /numbers\nRUN echo {long} 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字 '<b>\"&amp;'\n"
    ));
    text.push_str(&format!("COPY [\"{HOSTILE_FILE}\", \"/\"]\n"));
    (0..6).for_each(|stage| text.push_str(&format!("COPY --from=stage{stage} /{stage} /\n")));
    text.push_str("RUN exit 3\nRUN true\n");
    text
}

/// Opens a file in a browser, and returns the page as it is when all that it does is done.
fn opened(page: &Path, profile: &Path, flags: &[&str]) -> String {
    let mut browser = Command::new("chromium");
    browser.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1500,1000",
    ]);
    browser.args(["--virtual-time-budget=20000", "--dump-dom"]).args(flags);
    browser.arg(format!("--user-data-dir={}", profile.display())).arg(format!("file://{}", page.display()));
    let output = browser.env("HOME", profile).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns what the measuring script finds in frames of all widths.
fn measured(scene: &Scene, page: &str, flags: &[&str]) -> Vec<Value> {
    let (before, behind) = page.split_once("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let (_, behind) = behind.split_once('>').unwrap();
    let with_script = format!("{before}{behind}<script>{MEASURE}</script>");
    scene.space.file("measured.html", with_script);
    let frame = |width| {
        format!("<iframe src='measured.html' style='width:{width}px;height:900px;border:0'></iframe>")
    };
    let frames: String = WIDTHS.map(frame).concat();
    let holder = scene.space.file(
        "frames.html",
        format!(
            "<!DOCTYPE html><pre></pre><script>const all = [];\naddEventListener('message', (event) => {{ all.push(event.data); \
             document.querySelector('pre').textContent = 'BEGIN' + JSON.stringify(all).replace(/[<>&\\u00a0]/g, '?') + 'END'; }});</script>{frames}"
        ),
    );
    let dom = opened(&holder, &scene.space.path("profile"), flags);
    let (_, found) = dom.split_once("BEGIN").unwrap_or_else(|| panic!("nothing was measured: {dom}"));
    serde_json::from_str(found.split_once("END").unwrap().0).unwrap()
}

#[test]
fn the_report_is_whole_in_a_browser_whatever_a_build_prints() {
    requires!("root", "busybox", "chromium");
    let scene = Scene::new();
    let context = scene.space.context("<script>document.title=3</script>", &[("Dockerfile", &dockerfile())]);
    let copied = context.join(HOSTILE_FILE);
    fs::create_dir_all(copied.parent().unwrap()).unwrap();
    fs::write(copied, "x").unwrap();
    scene.space.build(&context).args(["--label", "a=</style><script>"]).run().fails_with(1);
    let path: PathBuf = scene.space.path("report.html");
    scene.log(&["--html"]).arg(&path).run().success();
    let page = fs::read_to_string(&path).unwrap();

    let transforms: Vec<String> = scene.json("last")["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| !step["parent"].is_null())
        .map(|step| format!("step-{}", step["step"]))
        .collect();
    assert!(transforms.len() > 20);
    for (flags, is_dark) in [(&[][..], false), (&["--blink-settings=preferredColorScheme=0"], true)] {
        let all = measured(&scene, &page, flags);
        let mut widths: Vec<u64> = all.iter().map(|found| found["width"].as_u64().unwrap()).collect();
        widths.sort_unstable();
        assert_eq!(widths, WIDTHS);
        for found in &all {
            assert_eq!(found["wrong"], serde_json::json!([]), "{} wide, dark: {is_dark}", found["width"]);
            assert_eq!(found["is_dark"], is_dark);
            let mut steps: Vec<&str> =
                found["steps"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            steps.sort_by_key(|id| id[5..].parse::<u32>().unwrap());
            assert_eq!(steps, transforms);
            assert_eq!(
                found["nodes"].as_array().unwrap().len(),
                transforms.len() + 1,
                "the base image stands there too"
            );
            let elements = [
                "a", "body", "code", "dd", "defs", "details", "div", "dl", "dt", "footer", "h1", "h2", "h3",
                "head", "header", "html", "li", "main", "marker", "meta", "nav", "ol", "p", "path", "pre",
                "rect", "script", "section", "span", "style", "summary", "svg", "text", "title", "ul",
            ];
            assert_eq!(
                found["elements"],
                serde_json::json!(elements.as_slice()),
                "what a build says makes no element"
            );
            assert_eq!(found["handlers"], 0);
        }
    }
    let with_script = page.replace("</body>", "<script>document.title = 'it ran'</script></body>");
    let guarded = scene.space.file("guarded.html", with_script);
    let dom = opened(&guarded, &scene.space.path("profile"), &[]);
    assert!(dom.contains("<title>Build failed: "), "the page's policy lets no script run");
}
