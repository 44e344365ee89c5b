//! Tests of dialect detection.

use crate::error::DetectError;

use super::*;

/// Returns the dialect or the error, and the number of requests.
async fn detected(script: impl IntoIterator<Item = CannedResponse>) -> (String, usize) {
    let setup = start(script).await;
    let text = match setup.finish(setup.api.detect_dialect()).await {
        Ok(dialect) => dialect.name().to_owned(),
        Err(DetectError::Undecided(error) | DetectError::KeyRejected(error)) => error.to_string(),
    };
    (text, setup.fake.requests().len())
}

#[tokio::test]
async fn dialects_are_detected() {
    let check = async |script: &[CannedResponse], expected: &str| {
        let expected = (expected.to_owned(), script.len());
        assert_eq!(detected(script.to_vec()).await, expected);
    };
    let (me, report, no) = (
        CannedResponse::ok(ME),
        CannedResponse::ok(EMPTY_REPORT),
        CannedResponse::status,
    );
    let organization = CannedResponse::ok(ORGANIZATION);
    check(&[me.clone(), report.clone()], "analytics").await;
    check(&[me.clone(), no(403), report.clone()], "reports").await;
    check(&[me.clone(), no(404), report.clone()], "reports").await;
    // Anthropic's response if an organization does not have the reports.
    check(&[me.clone(), no(400), report.clone()], "reports").await;
    check(&[no(404), organization.clone()], "guide").await;
    check(&[no(405), organization.clone()], "guide").await;
}

#[tokio::test]
async fn inconclusive_responses_are_reported() {
    let check = async |script: &[CannedResponse], expected: &str| {
        assert_eq!(
            detected(script.to_vec()).await,
            (expected.to_owned(), script.len())
        );
    };
    let (me, no) = (CannedResponse::ok(ME), CannedResponse::status);
    let html = CannedResponse::new("200 OK", "content-type: text/html\r\n", "<html>");
    let at = |path: &str| format!("organization `acme`, GET /v1/{path}");
    let (me_path, analytics, reports) = (
        "organizations/me",
        "organizations/analytics/cost",
        "organizations/usage_report/messages",
    );
    let not_json = |path| {
        let detail = "not JSON (expected value at line 1 column 1), starts with `<html>`";
        format!("invalid response: {}: {detail}", at(path))
    };
    let status = |status, path| {
        format!(
            "the server responded with status {status}: {}: no message",
            at(path)
        )
    };
    let not_found = |path| status(404, path) + "; check `base_url` and `dialect`";
    let rejected = |path| {
        format!(
            "the Admin API rejected the key (401): {}: no message; \
             check `admin_key`, or create a new key in the Console under Settings > Admin keys",
            at(path)
        )
    };
    let forbidden = |path| {
        format!(
            "the server rejected the key (status 403): {}: no message; `spendwatch doctor` lists what the key can read",
            at(path)
        )
    };
    check(&[no(401)], &rejected(me_path)).await;
    check(&[no(403)], &forbidden(me_path)).await;
    check(&vec![no(429); 4], &status(429, me_path)).await;
    check(&vec![no(500); 4], &status(500, me_path)).await;
    check(std::slice::from_ref(&html), &not_json(me_path)).await;
    let not_an_organization = format!(
        "invalid response: {}: `type` is `user`, not `organization`",
        at(me_path)
    );
    check(
        &[CannedResponse::ok(r#"{"id": "7d0c", "type": "user"}"#)],
        &not_an_organization,
    )
    .await;

    let after_me = |more: Vec<CannedResponse>| [vec![me.clone()], more].concat();
    check(&after_me(vec![no(401)]), &rejected(analytics)).await;
    check(&after_me(vec![no(400), no(400)]), &status(400, reports)).await;
    check(&after_me(vec![no(429); 4]), &status(429, analytics)).await;
    check(&after_me(vec![no(500); 4]), &status(500, analytics)).await;
    check(&after_me(vec![html.clone()]), &not_json(analytics)).await;
    check(&after_me(vec![no(403), no(403)]), &forbidden(reports)).await;
    check(&after_me(vec![no(404), no(404)]), &not_found(reports)).await;
    check(&after_me(vec![no(403), html]), &not_json(reports)).await;

    check(&[no(404), no(404)], &not_found("organizations")).await;
    check(&[no(404), no(401)], &rejected("organizations")).await;
    let no_id = format!(
        "invalid response: {}: missing field `id` at line 1 column 17",
        at("organizations")
    );
    check(
        &[no(404), CannedResponse::ok(r#"{"name": "no id"}"#)],
        &no_id,
    )
    .await;
}
