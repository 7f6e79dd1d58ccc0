//! `path`, `request_headers` and `response_headers` of a route.

use http::HeaderName;

use super::listeners::path;
use super::values::or;
use crate::config::findings::quote;
use crate::config::reader::Value;
use crate::config::schema;
use crate::config::suggest::did_you_mean;
use crate::route::{FieldEdits, Heading, Matcher, PathMatch, PathRewrite, Placeholder, Template, why_fixed};

/// More would not fit into the head that servers accept.
const MAX_FIELDS: usize = 64;

/// A text with placeholders.
pub(super) fn template(value: &Value<'_>, what: &str, example: &str) -> Option<Template> {
    let known = || Placeholder::ALL.iter().map(|(name, _)| *name);
    let text = value.text()?;
    match Template::parse(text) {
        Ok(template) => Some(template),
        Err(error) => {
            let names = known().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
            let inner = text.split('{').nth(1).and_then(|rest| rest.split('}').next()).unwrap_or_default();
            let meant = did_you_mean(inner, known()).map(|hint| format!("{hint}; ")).unwrap_or_default();
            let hint = format!("{meant}such as {example}; placeholders: {names}");
            value.fatal(format_args!("{} is not {what}: {error}", quote(text)), hint);
            None
        }
    }
}

/// `{strip, prepend}`.
pub(super) fn path_rewrite(value: &Value<'_>, matcher: Option<&Matcher>) -> Option<PathRewrite> {
    let fields = value.fields(schema::ROUTE_PATH)?;
    let strip = or(fields.get("strip"), String::new(), path);
    let prepend = or(fields.get("prepend"), String::new(), path);
    let (strip, prepend) = (strip?, prepend?);
    let prefix = |text: &str| text.trim_end_matches('/').to_owned();
    if prefix(&strip) == prefix(&prepend) {
        value.fatal("it changes no path: strip and prepend are the same", "remove it".to_owned());
    }
    let is_apart = |matcher: &Matcher| {
        let stripped = PathMatch::prefix(&strip);
        let (PathMatch::Prefix(one) | PathMatch::Exact(one)) = &matcher.path else { return false };
        let is_above = matches!(&matcher.path, PathMatch::Prefix(_))
            && matches!(&stripped, PathMatch::Prefix(below) if matcher.path.matches(below));
        !stripped.matches(one) && !is_above
    };
    if let Some(given) = fields.get("strip")
        && matcher.is_some_and(is_apart)
    {
        given.fatal(
            "strip has no effect here: no path that the route matches begins with it",
            "strip what `match.path` begins with".to_owned(),
        );
    }
    Some(PathRewrite::new(&strip, &prepend))
}

/// `{set, remove}`.
pub(super) fn field_edits(value: &Value<'_>, heading: Heading) -> Option<FieldEdits> {
    let fields = value.fields(schema::ROUTE_FIELDS)?;
    let set = or(fields.get("set"), Vec::new(), |value| set_fields(value, heading));
    let remove = or(fields.get("remove"), Vec::new(), |list| {
        list.distinct(|item| field_name(item.text()?, item, heading))
    });
    let (set, remove) = (set?, remove?);
    if set.is_empty() && remove.is_empty() {
        value.fatal("it changes nothing", "name fields in set or remove, or leave the key out".to_owned());
    }
    for name in remove.iter().filter(|name| set.iter().any(|(other, _)| other == *name)) {
        value.fatal(
            format_args!("{name} is set and removed"),
            "set alone replaces what the other side sent".to_owned(),
        );
    }
    Some(FieldEdits { set, remove })
}

fn set_fields(value: &Value<'_>, heading: Heading) -> Option<Vec<(HeaderName, Template)>> {
    let entries = value.entries()?;
    if entries.len() > MAX_FIELDS {
        value.fatal(format_args!("there are more than {MAX_FIELDS} fields"), None);
        return None;
    }
    let mut set: Vec<(HeaderName, Template)> = Vec::new();
    for (name, value) in &entries {
        let Some(name) = field_name(name, value, heading) else { continue };
        if set.iter().any(|(other, _)| *other == name) {
            value.fatal(format_args!("the field {name} is there twice"), "remove one of them".to_owned());
        }
        let text = template(value, "a field's value", "\"{client_ip}\"");
        set.extend(text.map(|text| (name, text)));
    }
    (set.len() == entries.len()).then_some(set)
}

/// A name that a route may edit.
fn field_name(text: &str, place: &Value<'_>, heading: Heading) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        place.fatal(format_args!("{} is not a field name", quote(text)), "such as x-real-ip".to_owned());
        return None;
    };
    if let Some(why) = why_fixed(&name, heading) {
        place.fatal(format_args!("a route cannot edit {name}: {why}"), "remove it".to_owned());
        return None;
    }
    Some(name)
}
