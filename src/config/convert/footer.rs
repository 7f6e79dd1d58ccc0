//! `footer` of a site.

use super::{Value, or};
use crate::config::schema;
use crate::rewrite::{FooterDisplay, FooterPages, FooterSettings, FooterTemplate, shows_number_and_link};

pub(super) fn footer(value: &Value<'_>) -> Option<FooterSettings> {
    let fields = value.fields(schema::FOOTER)?;
    let pages = or(fields.get("pages"), FooterPages::default(), |value| {
        value.word(&[("all", FooterPages::All), ("home", FooterPages::Home), ("off", FooterPages::Off)])
    });
    if pages == Some(FooterPages::Off) {
        for key in ["display", "template"] {
            fields.useless(key, "no page gets the footer (pages: off)");
        }
    }
    let display = or(fields.get("display"), FooterDisplay::default(), |value| {
        value.word(&[
            ("auto", FooterDisplay::Auto),
            ("service", FooterDisplay::Service),
            ("subject", FooterDisplay::Subject),
        ])
    });
    let template = or(fields.get("template"), None, |value| template(value).map(Some));
    Some(FooterSettings { pages: pages?, display: display?, template: template? })
}

fn template(value: &Value<'_>) -> Option<FooterTemplate> {
    let template =
        value.parsed("a footer", "<p>{number_link} {public_security_link}</p>", FooterTemplate::parse)?;
    let settings = FooterSettings { template: Some(template), ..FooterSettings::default() };
    if !shows_number_and_link(&settings) {
        value.fatal(
            "the footer does not show the number with a link to https://beian.miit.gov.cn/",
            "put {number_link} into its text".to_owned(),
        );
    }
    settings.template
}
