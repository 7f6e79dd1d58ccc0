use crate::support::edge::*; use crate::support::origin::*;
#[tokio::test]
async fn dbg() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let text = edge.configuration().replace("{directory: access}", "{directory: access, reserve: 1000TiB}");
    eprintln!("{text}");
    edge.replace("icpgate.yaml", text);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    eprintln!("{} {:?}", edge.log(), edge.status().await["retention"]);
    let run = icpgate(["check", "--config", edge.path("icpgate.yaml").to_str().unwrap()]).await;
    eprintln!("{run:?}");
}
