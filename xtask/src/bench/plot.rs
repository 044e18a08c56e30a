//! The picture: what a packet costs, against the length of the list; a line a case, and beside
//! them what others were measured to cost. Both axes are logarithmic.

use std::{ops::Range, path::Path};

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{
    prices::{Figure, Prices},
    table::number,
};

const SIZE: (u32, u32) = (1200, 700);
const CHART_WIDTH: u32 = 800;
const LEGEND_LINE: i32 = 26;
const FONT: &str = "sans-serif";

/// What belongs together on one line.
struct Line<'a> {
    label: String,
    /// Prefixes and nanoseconds.
    points: Vec<(f64, f64)>,
    figure: &'a Figure,
}

impl Line<'_> {
    /// Others stand out among our own.
    fn width(&self) -> u32 {
        if self.figure.subject == "poolwatch" { 2 } else { 5 }
    }
}

/// Hues as far apart as the golden ratio puts them, now darker, now lighter.
fn color(row: i32) -> HSLColor {
    let hue = (f64::from(row) * 0.618_034).fract();
    HSLColor(hue, 0.75, if row % 2 == 0 { 0.38 } else { 0.5 })
}

/// Draws what there is; `false`: nothing was measured with lists of different lengths.
pub(super) fn draw(prices: &Prices, path: &Path) -> Result<bool> {
    let lines = lines(prices);
    if lines.is_empty() {
        return Ok(false);
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    paint(&root, &lines).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    Ok(true)
}

/// Nanoseconds a packet, by case and subject, where there is more than one length.
fn lines(prices: &Prices) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let per_packet =
        |figure: &&Figure| figure.unit == "ns" && matches!(figure.part.as_str(), "packet" | "traffic");
    for figure in prices.figures.iter().filter(per_packet) {
        let Some(prefixes) = figure.prefixes else { continue };
        // A logarithmic axis has no place for what noise made nothing of.
        let point = (f64::from(prefixes.max(1)), figure.median.max(1.0));
        let same =
            |line: &&mut Line<'_>| line.figure.what == figure.what && line.figure.subject == figure.subject;
        match lines.iter_mut().find(same) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { label: label(figure), points: vec![point], figure }),
        }
    }
    lines.retain(|line| line.points.len() > 1);
    lines
}

fn label(figure: &Figure) -> String {
    if figure.subject == "poolwatch" && figure.part == "packet" {
        figure.what.clone()
    } else {
        format!("{}: {}", figure.subject, figure.what)
    }
}

/// From the smallest to the largest, with some room.
fn range(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let smallest = values.clone().fold(f64::INFINITY, f64::min);
    let largest = values.fold(1.0, f64::max);
    smallest / 1.3..largest * 1.3
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn paint(root: &Area<'_>, lines: &[Line<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    let (chart, legend) = root.split_horizontally(CHART_WIDTH);
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let mut chart = ChartBuilder::on(&chart)
        .caption("What a packet costs over an empty program", (FONT, 22))
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(
            range(points().map(|point| point.0)).log_scale(),
            range(points().map(|point| point.1)).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.07))
        .x_desc("prefixes listed")
        .y_desc("nanoseconds a packet (median)")
        .x_label_formatter(&|prefixes| number(*prefixes))
        .y_label_formatter(&|ns| number(*ns))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 16))
        .draw()?;
    for (row, line) in (0..).zip(lines) {
        let color = color(row);
        let style = color.stroke_width(line.width());
        chart.draw_series([PathElement::new(line.points.clone(), style)])?;
        chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        let y = 60 + LEGEND_LINE * row;
        legend.draw(&PathElement::new(vec![(4, y), (30, y)], style))?;
        legend.draw(&Text::new(line.label.clone(), (38, y - 7), (FONT, 14)))?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::prices::made_up;
    use super::*;

    #[test]
    fn a_line_is_what_was_measured_with_more_than_one_list() {
        let prices = made_up();
        let labels: Vec<_> = lines(&prices).into_iter().map(|line| (line.label, line.points.len())).collect();
        let wanted = [("tcp ack outside", 2), ("nftables: share ns", 2)];
        assert_eq!(labels, wanted.map(|(label, points)| (label.to_owned(), points)));
    }

    #[test]
    fn the_picture_names_its_axes_and_each_line() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("price.svg");
        assert!(draw(&made_up(), &path).unwrap());
        let svg = fs::read_to_string(&path).unwrap();
        for text in ["prefixes listed", "nanoseconds a packet", "tcp ack outside", "nftables: share ns"] {
            assert!(svg.contains(text), "no {text:?}");
        }
    }

    #[test]
    fn without_figures_there_is_no_picture() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("price.svg");
        assert!(!draw(&Prices { figures: Vec::new(), judged: Vec::new() }, &path).unwrap());
        assert!(!path.exists());
    }
}
