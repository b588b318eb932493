//! Findings as SARIF 2.1.0, the form that code hosts and editors read. Columns count characters, which is said in the
//! document.

use kiln_builder::check::Checked;
use kiln_builder::lower::place;
use kiln_frontend::diagnostic::{Edit, Label};
use kiln_frontend::lint::{Level, RULES, Rule};
use kiln_frontend::source::{Source, Span};
use serde_json::{Value, json};

use super::{Entry, entries, page};

/// Returns the document of a check.
pub(crate) fn render(files: &[Checked]) -> String {
    let results: Vec<Value> =
        files.iter().flat_map(|file| entries(file).into_iter().map(|entry| result(file, &entry))).collect();
    let notes: Vec<Value> = files
        .iter()
        .flat_map(|file| &file.notes)
        .map(|note| json!({ "level": "note", "message": { "text": note } }))
        .collect();
    let artifacts: Vec<Value> =
        files.iter().map(|file| json!({ "location": { "uri": uri(&file.source) } })).collect();
    let rules: Vec<Value> = RULES.iter().map(|rule| describe(rule)).collect();
    super::json::to_text(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "kiln",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "artifacts": artifacts,
            "invocations": [{ "executionSuccessful": true, "toolExecutionNotifications": notes }],
            "results": results,
        }],
    }))
}

fn describe(rule: &Rule) -> Value {
    json!({
        "id": rule.name,
        "name": rule.name,
        "shortDescription": { "text": rule.summary },
        "helpUri": page(rule),
        "defaultConfiguration": { "enabled": rule.level == Level::On, "level": "warning" },
    })
}

fn result(file: &Checked, entry: &Entry<'_>) -> Value {
    let source = &file.source;
    let diagnostic = entry.diagnostic;
    let text = match &diagnostic.help {
        Some(help) => format!("{}; {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let mut result = json!({
        "ruleId": entry.name(),
        "level": if diagnostic.is_error() { "error" } else { "warning" },
        "message": { "text": text },
        "locations": [location(source, diagnostic.primary())],
    });
    if let Some(index) = entry.rule.and_then(|rule| RULES.iter().position(|known| *known == rule)) {
        result["ruleIndex"] = json!(index);
    }
    let others: Vec<Value> = diagnostic.labels.iter().skip(1).map(|label| related(source, label)).collect();
    if !others.is_empty() {
        result["relatedLocations"] = json!(others);
    }
    if entry.is_fixable() {
        result["fixes"] = json!([fix(source, &diagnostic.fix)]);
    }
    result
}

fn location(source: &Source, span: Option<Span>) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(source) } });
    if let Some(span) = span {
        physical["region"] = region(source, span);
    }
    json!({ "physicalLocation": physical })
}

fn related(source: &Source, label: &Label) -> Value {
    let mut location = location(source, Some(label.span));
    if !label.text.is_empty() {
        location["message"] = json!({ "text": label.text });
    }
    location
}

fn fix(source: &Source, edits: &[Edit]) -> Value {
    let replacement = |edit: &Edit| {
        json!({
            "deletedRegion": region(source, edit.span),
            "insertedContent": { "text": edit.replacement },
        })
    };
    json!({ "artifactChanges": [{
        "artifactLocation": { "uri": uri(source) },
        "replacements": edits.iter().map(replacement).collect::<Vec<_>>(),
    }] })
}

fn region(source: &Source, span: Span) -> Value {
    let place = place(source, span);
    json!({
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
    })
}

/// Returns the name of a file as a relative reference: what has another meaning there is written in hexadecimal.
fn uri(source: &Source) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(byte);
    let scheme = if source.name().starts_with('/') { "file://" } else { "" };
    let encoded = source.name().bytes().map(|byte| match is_plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    format!("{scheme}{}", encoded.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::*;

    #[test]
    fn findings_have_regions_fixes_and_rules() {
        let file = checked("my dir/Dockerfile", "FROM a AS Bx\nCOPPY a b\n");
        let text = file.findings[0].diagnostic.message.clone();
        let found: Value = serde_json::from_str(&render(&[file])).unwrap();
        let run = &found["runs"][0];
        let region = json!({ "startLine": 1, "startColumn": 11, "endLine": 1, "endColumn": 13 });
        let artifact = json!({ "uri": "my%20dir/Dockerfile" });
        let result = &run["results"][0];
        assert_eq!((&found["version"], &result["ruleId"]), (&json!("2.1.0"), &json!("StageNameCasing")));
        let physical = json!({ "artifactLocation": artifact, "region": region });
        assert_eq!(result["locations"], json!([{ "physicalLocation": physical }]));
        assert!(result["message"]["text"].as_str().unwrap().starts_with(&text));
        let replacements = json!([{ "deletedRegion": region, "insertedContent": { "text": "bx" } }]);
        let changes = json!([{ "artifactLocation": artifact, "replacements": replacements }]);
        assert_eq!(result["fixes"], json!([{ "artifactChanges": changes }]));
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!((rules.len(), &rules[index]["id"]), (RULES.len(), &json!("StageNameCasing")));
        let error = &run["results"][1];
        assert_eq!((&error["level"], &error["ruleId"]), (&json!("error"), &json!("unknown-instruction")));
        assert_eq!((&error["ruleIndex"], &error["fixes"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn names_of_files_are_references() {
        for (name, expected) in [
            ("a/Dockerfile", "a/Dockerfile"),
            ("/a b/ä", "file:///a%20b/%C3%A4"),
            ("c:d?e#f", "c%3Ad%3Fe%23f"),
        ] {
            assert_eq!(uri(&Source::new(name, "")), expected);
        }
    }
}
