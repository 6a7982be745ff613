# Reference values for tests/evaluation: Rscript statistics.R > statistics_r.json
#
# Needs R below 4.6 (from 4.6 on wilcox.test is exact with ties too; the paper used 3.5) and the packages jsonlite,
# boot, psych and exactRankTests. The data are made here, by fixed seeds, and travel in the JSON beside the results.

stopifnot(getRversion() < "4.6")
suppressPackageStartupMessages({
  library(boot)
  library(exactRankTests)
  library(psych)
})

mann_whitney <- function(name, x, y) {
  test <- suppressWarnings(wilcox.test(x, y))
  exact <- grepl("exact", test$method)
  list(name = name, x = x, y = y, u = unname(test$statistic), p_value = test$p.value, exact = exact)
}

set.seed(1)
u_tests <- list(
  mann_whitney("volunteers' size, no ties", rnorm(10, 0.86, 0.06), rnorm(30, 0.87, 0.03)),
  mann_whitney("patients' size, no ties", rnorm(42, 0.72, 0.13), rnorm(126, 0.79, 0.09)),
  mann_whitney("49 and 49, no ties", rnorm(49), rnorm(49, 0.3)),
  mann_whitney("50 and 10, no ties", rnorm(50), rnorm(10, 0.3)),
  mann_whitney("two decimals", round(rnorm(12, 0.8, 0.05), 2), round(rnorm(36, 0.82, 0.05), 2)),
  mann_whitney("pixel distances", 0.52 * rpois(10, 1), 0.52 * rpois(30, 2)),
  mann_whitney("one failure", c(rexp(9), Inf), rexp(30)),
  mann_whitney("three failures", c(rexp(9), Inf, Inf), c(rexp(29), Inf)),
  mann_whitney("apart", 1:5 + 0.5, 11:20 + 0.25),
  mann_whitney("2 and 2", c(1, 3), c(2, 4)),
  mann_whitney("centred with ties", c(1, 2, 2, 3), c(1, 2, 2, 3))
)

signed_rank <- function(name, d) {
  test <- suppressWarnings(wilcox.test(d, conf.int = TRUE))
  exact <- grepl("exact", test$method)
  conditional <- wilcox.exact(d)
  list(
    name = name, differences = d, v = unname(test$statistic), p_value = test$p.value, exact = exact,
    conditional_p_value = conditional$p.value,
    estimate = if (exact) unname(test$estimate), interval = if (exact) as.numeric(test$conf.int)
  )
}

set.seed(2)
signed_ranks <- list(
  signed_rank("6", rnorm(6, 0.05, 0.05)),
  signed_rank("10", rnorm(10, -0.02, 0.05)),
  signed_rank("19", rnorm(19, -0.02, 0.05)),
  signed_rank("42", rnorm(42, -0.02, 0.05)),
  signed_rank("60", rnorm(60, 0.01, 0.05)),
  signed_rank("60 with ties", round(rnorm(60, 0.01, 0.05), 2)),
  signed_rank("15 with ties", round(rnorm(15, 0.02, 0.05), 2)),
  signed_rank("12 with ties and zeros", c(0, 0, 1, 1, -1, 2, 2, -2, 3, 4, 4, 5))
)

bca <- function(name, data, statistic) {
  set.seed(3)
  resampled <- boot(data, statistic, R = 99999)
  n <- nrow(data)
  widened <- 1 - 2 * pnorm(-sqrt(n / (n - 1)) * qt(0.975, n - 1))
  interval <- boot.ci(resampled, conf = c(0.95, widened), type = "bca")$bca[, 4:5]
  list(
    name = name, data = unname(as.matrix(data)), estimate = unname(resampled$t0),
    interval = interval[1, ], widened = interval[2, ]
  )
}

set.seed(4)
differences <- -rexp(42, 15) + 0.05
raters <- rbeta(42, 20, 5)
automatic <- raters - rexp(42, 10) * raters
intervals <- list(
  bca("mean", data.frame(d = differences), function(data, i) mean(data[i, 1])),
  bca("ratio", data.frame(a = automatic, r = raters), function(data, i) mean(data[i, 1]) / mean(data[i, 2]))
)

intraclass <- function(name, ratings) {
  row <- ICC(ratings, lmer = FALSE)$results["Single_random_raters", ]
  list(name = name, ratings = ratings, value = row$ICC, low = row$`lower bound`, high = row$`upper bound`)
}

# Shrout and Fleiss 1979, table 2: six subjects, four judges.
shrout_fleiss <- rbind(c(9, 2, 5, 8), c(6, 1, 3, 2), c(8, 4, 6, 8), c(7, 1, 2, 6), c(10, 5, 6, 9), c(6, 2, 4, 7))
set.seed(5)
volumes <- matrix(rnorm(42 * 3, sd = 0.4) + rnorm(42, 6, 1.5) + rep(c(0, 0.3, -0.2), each = 42), 42, 3)
unrelated <- matrix(rnorm(10 * 3), 10, 3)
correlations <- list(
  intraclass("Shrout and Fleiss", shrout_fleiss),
  intraclass("volumes", volumes),
  intraclass("unrelated", unrelated)
)

# Factors of the exact interval of a limit of agreement: the non-central t quantiles over the root of n.
factors <- lapply(c(2, 10, 42, 100), function(n) {
  z <- qnorm(0.975)
  list(n = n, bias = qt(0.975, n - 1) / sqrt(n), limit = qt(c(0.025, 0.975), n - 1, ncp = z * sqrt(n)) / sqrt(n))
})

adjustments <- lapply(
  list(c(0.01, 0.04, 0.03, 0.005), c(0.6, 0.02, NA, 0.02, 0.9), c(0.5, 0.5), NA_real_),
  function(p) list(p_values = I(p), holm = I(p.adjust(p, "holm")))
)

mcnemar <- lapply(list(c(9, 2, 42), c(1, 0, 10), c(7, 1, 21), c(3, 3, 10)), function(k) {
  table <- matrix(c(0, k[1], k[2], k[3] - k[1] - k[2]), 2)
  list(only_first = k[1], only_second = k[2], n = k[3], p_value = mcnemar.test(table, correct = FALSE)$p.value)
})

cat(jsonlite::toJSON(
  list(
    R = R.version.string,
    packages = lapply(list(boot = "boot", psych = "psych", exactRankTests = "exactRankTests"),
                      function(name) as.character(packageVersion(name))),
    mann_whitney = u_tests, signed_rank = signed_ranks, bca = intervals, icc = correlations,
    bland_altman = factors, holm = adjustments, mcnemar = mcnemar
  ),
  auto_unbox = TRUE, digits = NA, na = "string", null = "null", pretty = FALSE
), "\n")
