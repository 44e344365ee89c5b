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
        let (text, n_requests) = detected(script.to_vec()).await;
        let expected = match expected.strip_prefix("rejected: ") {
            Some(place) => format!(
                "the Admin API rejected the key (401): organization `acme`, GET /v1/{place}: no message; \
                 check `admin_key`, or create a new key in the Console under Settings > Admin keys"
            ),
            None => format!("organization `acme`: GET /v1/{expected}"),
        };
        assert_eq!(text, expected);
        assert_eq!(n_requests, script.len(), "{expected}");
    };
    let (me, no) = (CannedResponse::ok(ME), CannedResponse::status);
    let html = CannedResponse::new("200 OK", "content-type: text/html\r\n", "<html>");
    let not_json = "page 1: invalid response: not JSON (expected value at line 1 column 1), starts with `<html>`";
    let me_fails = |problem: &str| format!("organizations/me, {problem}");
    let analytics_fails = |problem: &str| format!("organizations/analytics/cost, {problem}");
    let reports_fails = |problem: &str| format!("organizations/usage_report/messages, {problem}");
    let status = |status| format!("page 1: the server responded with status {status}: no message");
    let rejected =
        |status| format!("page 1: the server rejected the key (status {status}): no message");
    check(&[no(401)], "rejected: organizations/me").await;
    check(&[no(403)], &me_fails(&rejected(403))).await;
    check(&vec![no(429); 4], &me_fails(&status(429))).await;
    check(&vec![no(500); 4], &me_fails(&status(500))).await;
    check(std::slice::from_ref(&html), &me_fails(not_json)).await;
    check(
        &[CannedResponse::ok(r#"{"id": "7d0c", "type": "user"}"#)],
        &me_fails("page 1: invalid response: `type` is `user`, not `organization`"),
    )
    .await;

    let after_me = |more: Vec<CannedResponse>| [vec![me.clone()], more].concat();
    let analytics = "rejected: organizations/analytics/cost";
    check(&after_me(vec![no(401)]), analytics).await;
    check(
        &after_me(vec![no(400), no(400)]),
        &reports_fails(&status(400)),
    )
    .await;
    check(&after_me(vec![no(429); 4]), &analytics_fails(&status(429))).await;
    check(&after_me(vec![no(500); 4]), &analytics_fails(&status(500))).await;
    check(&after_me(vec![html.clone()]), &analytics_fails(not_json)).await;
    check(
        &after_me(vec![no(403), no(403)]),
        &reports_fails(&rejected(403)),
    )
    .await;
    check(
        &after_me(vec![no(404), no(404)]),
        &reports_fails(&status(404)),
    )
    .await;
    check(&after_me(vec![no(403), html]), &reports_fails(not_json)).await;

    check(
        &[no(404), no(404)],
        &format!("organizations, {}", status(404)),
    )
    .await;
    check(&[no(404), no(401)], "rejected: organizations").await;
    check(
        &[no(404), CannedResponse::ok(r#"{"name": "no id"}"#)],
        "organizations, page 1: invalid response: missing field `id` at line 1 column 17",
    )
    .await;
}
