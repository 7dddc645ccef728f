//! The roofline of a profile (Williams et al., 2009) as SVG.

use crate::html::chart::{Axis, bounds};
use crate::html::{escape, trimmed};
use crate::numeric::statistics::figure;
use crate::profile::{Profile, Site};

/// The size of the drawing and the edges of the plot in it.
const SIZE: [f64; 2] = [760.0, 440.0];
const LEFT: f64 = 58.0;
const RIGHT: f64 = 744.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 396.0;

/// The axes and ceilings of a roofline.
struct Roofline {
    /// Floating-point operations per byte.
    intensity: Axis,
    gflops: Axis,
    peak_gflops: f64,
    bandwidth_gbytes_per_s: f64,
}

impl Profile {
    /// Draws the roofline: the device's ceilings, and a circle for each call site that computes.
    pub(super) fn roofline(&self) -> String {
        let sites = self.sites.iter().enumerate();
        let sites: Vec<(usize, &Site)> = sites.filter(|(_, site)| site.gflops() > 0.0).collect();
        let roofline = Roofline::new(self, &sites);
        let circles: String = sites
            .iter()
            .map(|(index, site)| roofline.circle(index + 1, site))
            .collect();
        let circles = circles + &roofline.numbers(&sites);
        let [width, height] = SIZE;
        format!(
            "<div class=\"wide\"><svg class=\"roofline\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" aria-label=\"Roofline\">\n{}{}{circles}{}</svg></div>",
            roofline.grid(),
            roofline.roof(),
            axis_names(),
        )
    }
}

impl Roofline {
    /// The axes span whole decades around the sites and the ridge.
    fn new(profile: &Profile, sites: &[(usize, &Site)]) -> Roofline {
        let peak_gflops = profile.ceilings.multiply_add_gflops.best;
        let bandwidth_gbytes_per_s = profile.ceilings.copy_gbytes_per_s.best;
        let ridge = peak_gflops / bandwidth_gbytes_per_s;
        let of_sites = |value: fn(&Site) -> f64| sites.iter().map(move |(_, site)| value(site));
        let intensity = bounds(of_sites(Site::intensity).chain([ridge, ridge * 4.0]));
        let gflops = bounds(of_sites(Site::gflops).chain([peak_gflops * 1.1]));
        Roofline {
            intensity: Axis::decades(intensity).between(LEFT, RIGHT),
            gflops: Axis::decades(gflops).between(BOTTOM, TOP),
            peak_gflops,
            bandwidth_gbytes_per_s,
        }
    }

    fn grid(&self) -> String {
        let vertical = self.intensity.x_grid(TOP, BOTTOM, trimmed);
        vertical + &self.gflops.y_grid(LEFT, RIGHT, trimmed)
    }

    /// The slope of the memory bandwidth and the line of the peak, with their labels.
    fn roof(&self) -> String {
        let (peak, bandwidth) = (self.peak_gflops, self.bandwidth_gbytes_per_s);
        let ridge = peak / bandwidth;
        // The slope begins at the left or lower edge of the plot.
        let start = self.intensity.low().max(self.gflops.low() / bandwidth);
        let middle = (start * ridge).sqrt();
        let [x, middle_x, ridge_x] = [start, middle, ridge].map(|at| self.intensity.at(at));
        let [y, middle_y, peak_y] =
            [start * bandwidth, middle * bandwidth, peak].map(|at| self.gflops.at(at));
        format!(
            "<path class=\"roof\" d=\"M{x:.1} {y:.1}L{ridge_x:.1} {peak_y:.1}H{RIGHT}\"/>\
             <text x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">{} GFLOP/s</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} GB/s</text>\n",
            peak_y - 6.0,
            figure(peak),
            middle_x - 8.0,
            middle_y - 6.0,
            figure(bandwidth),
        )
    }

    /// The circle of a site, with its number in the table; the area is the site's share of the
    /// time.
    fn circle(&self, number: usize, site: &Site) -> String {
        let (x, y) = (
            self.intensity.at(site.intensity()),
            self.gflops.at(site.gflops()),
        );
        let radius = radius(site);
        let title = format!(
            "{number} {}: {} GFLOP/s, {:.0}% of its roofline",
            escape(&site.label()),
            figure(site.gflops()),
            site.work.roofline * 100.0
        );
        format!(
            "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\">\
             <title>{title}</title></circle>\n",
            site.phase.name(),
        )
    }

    /// The number of each site beside its circle, where no other number is. One that is farther
    /// away has a line to its circle.
    fn numbers(&self, sites: &[(usize, &Site)]) -> String {
        let mut taken: Vec<[f64; 4]> = vec![];
        let mut svg = String::new();
        for (index, site) in sites {
            let text = (index + 1).to_string();
            let size = [NUMBER_WIDTH * text.len() as f64, NUMBER_HEIGHT];
            let center = [
                self.intensity.at(site.intensity()),
                self.gflops.at(site.gflops()),
            ];
            let (place, is_far) = free_place(center, radius(site), size, &taken);
            taken.push(place);
            let [left, top, ..] = place;
            if is_far {
                svg += &format!(
                    "<path class=\"leader\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
                    center[0],
                    center[1],
                    left + size[0] / 2.0,
                    top + size[1] / 2.0
                );
            }
            svg += &format!(
                "<text class=\"number\" x=\"{left:.1}\" y=\"{:.1}\">{text}</text>\n",
                top + NUMBER_HEIGHT - 2.0
            );
        }
        svg
    }
}

/// Width of a digit and height of a number.
const NUMBER_WIDTH: f64 = 7.0;
const NUMBER_HEIGHT: f64 = 11.0;
/// The distances of a number from its circle that are tried.
const DISTANCES: [f64; 5] = [2.0, 10.0, 20.0, 32.0, 46.0];

fn radius(site: &Site) -> f64 {
    3.5 + 22.0 * site.time.share.sqrt()
}

/// The first place `[left, top, right, bottom]` around a circle that touches none of `taken`, and
/// whether it is away from the circle: to the right, to the left, above, below, and between these.
fn free_place(
    [x, y]: [f64; 2],
    radius: f64,
    [width, height]: [f64; 2],
    taken: &[[f64; 4]],
) -> ([f64; 4], bool) {
    let directions = [
        [1.0, 0.0],
        [-1.0, 0.0],
        [0.0, -1.0],
        [0.0, 1.0],
        [0.7, -0.7],
        [0.7, 0.7],
        [-0.7, -0.7],
        [-0.7, 0.7],
    ];
    let place = |distance: f64, [dx, dy]: [f64; 2]| {
        let reach = radius + distance;
        let center = [
            x + dx * (reach + width / 2.0),
            y + dy * (reach + height / 2.0),
        ];
        let (left, top) = (center[0] - width / 2.0, center[1] - height / 2.0);
        [left, top, left + width, top + height]
    };
    let is_free = |place: &[f64; 4]| {
        let is_inside = place[0] >= LEFT && place[2] <= SIZE[0] && place[1] >= 0.0;
        let touches = |other: &[f64; 4]| {
            place[0] < other[2] && other[0] < place[2] && place[1] < other[3] && other[1] < place[3]
        };
        is_inside && place[3] <= BOTTOM && !taken.iter().any(touches)
    };
    let places = DISTANCES.into_iter().flat_map(|distance| {
        directions.map(|direction| (place(distance, direction), distance > DISTANCES[0]))
    });
    let mut free = places.filter(|(place, _)| is_free(place));
    free.next()
        .unwrap_or((place(DISTANCES[0], directions[0]), false))
}

fn axis_names() -> String {
    format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">floating-point operations per byte\
         </text>\
         <text transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">GFLOP/s\
         </text>\n",
        (LEFT + RIGHT) / 2.0,
        SIZE[1] - 8.0,
        (TOP + BOTTOM) / 2.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sites_at_the_same_point_do_not_touch() {
        let mut taken: Vec<[f64; 4]> = vec![];
        for n in 0..20 {
            let (place, is_far) = free_place([300.0, 200.0], 8.0, [14.0, 11.0], &taken);
            for other in &taken {
                let apart = place[0] >= other[2]
                    || other[0] >= place[2]
                    || place[1] >= other[3]
                    || other[1] >= place[3];
                assert!(apart, "{place:?} {other:?}");
            }
            assert!(n > 0 || !is_far);
            taken.push(place);
        }
    }
}
