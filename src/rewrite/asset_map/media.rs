//! The media types of local copies, by the end of their names.

use super::names::AssetName;

/// What is served. Pages are not among them: a copy shares the site's origin, and a page there could read its cookies.
const TYPES: [(&[&str], &str); 24] = [
    // Font services answer at these paths.
    (&["css", "css2"], "text/css"),
    (&["js", "mjs"], "text/javascript"),
    (&["json", "map"], "application/json"),
    (&["woff2"], "font/woff2"),
    (&["woff"], "font/woff"),
    (&["ttf"], "font/ttf"),
    (&["otf"], "font/otf"),
    (&["eot"], "application/vnd.ms-fontobject"),
    (&["png"], "image/png"),
    (&["jpg", "jpeg"], "image/jpeg"),
    (&["gif"], "image/gif"),
    (&["webp"], "image/webp"),
    (&["avif"], "image/avif"),
    (&["svg"], "image/svg+xml"),
    (&["ico"], "image/x-icon"),
    (&["wasm"], "application/wasm"),
    (&["txt"], "text/plain"),
    (&["webmanifest"], "application/manifest+json"),
    (&["mp3"], "audio/mpeg"),
    (&["m4a"], "audio/mp4"),
    (&["ogg"], "audio/ogg"),
    (&["wav"], "audio/wav"),
    (&["mp4"], "video/mp4"),
    (&["webm"], "video/webm"),
];

/// The type of a file: by what is behind the last dot of its name, or by the whole name if it has none. The query does
/// not count.
pub fn media_type(name: &AssetName) -> Option<&'static str> {
    let file = name.file_name();
    let end = file.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_end = |known: &&&str| known.as_bytes().eq_ignore_ascii_case(end);
    TYPES.iter().find(|(ends, _)| ends.iter().any(|known| is_end(&known))).map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_told_by_the_name() {
        for (file, expected) in [
            ("a/b.min.CSS", Some("text/css")),
            ("css%3Ffamily=Roboto", Some("text/css")),
            ("css2?family=a.b", Some("text/css")),
            ("gtag/js?id=1", Some("text/javascript")),
            ("s/roboto/v1/x.woff2", Some("font/woff2")),
            ("index.html", None),
            ("a.css/b", None),
            ("a.css.gz", None),
            ("", None),
        ] {
            assert_eq!(media_type(&AssetName::of_path(file.as_bytes())), expected, "{file}");
        }
    }
}
