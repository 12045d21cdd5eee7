//! What the demo plays: a web shop, tested by three runners, on a day on which not everything works.

/// A runner and what it runs.
pub(super) struct Story {
    /// Label `runner`.
    pub(super) runner: &'static str,
    /// Runner and version.
    pub(super) title: &'static str,
    /// The command that a person would have typed.
    pub(super) command: &'static str,
    /// Between suite and test in the identity of a test.
    pub(super) joint: &'static str,
    /// Names of the workers; an empty one for a runner that has none.
    pub(super) workers: &'static [&'static str],
    /// Shortest and longest usual test, in milliseconds.
    pub(super) pace: (u64, u64),
    /// In the order in which they run.
    pub(super) suites: &'static [Suite],
    /// What each test does first and last, in a runner that reports steps.
    pub(super) steps: &'static [&'static str],
}

/// A suite.
pub(super) struct Suite {
    /// Whole name.
    pub(super) name: &'static str,
    /// Tags of its tests.
    pub(super) tags: &'static [&'static str],
    /// Names of its tests.
    pub(super) tests: &'static [&'static str],
}

/// What is special about a test.
pub(super) enum Plot {
    /// Fails; the application says why: source, level, text.
    Fails { message: &'static str, details: &'static str, logs: &'static [(&'static str, &'static str, &'static str)] },
    /// Its set-up breaks.
    Breaks { message: &'static str, details: &'static str },
    /// Fails, and passes when it is tried again.
    Flaky(&'static str),
    /// Is not run.
    Skipped(&'static str),
    /// Fails as expected.
    Xfails(&'static str),
    /// Takes so many milliseconds.
    Slow(u64),
}

/// The tests that are not just green, by name.
pub(super) const PLOTS: &[(&str, Plot)] = &[
    (
        "test_pay_with_expired_card",
        Plot::Fails {
            message: "AssertionError: expected status 402, got 500\nassert 500 == 402",
            details: "tests/test_checkout.py:88: in test_pay_with_expired_card\n    answer = shop.pay(order, card=EXPIRED)\n\
                      shop/client.py:41: in pay\n    return self.post(\"/pay\", json=body)\n\
                      tests/test_checkout.py:90: AssertionError",
            logs: &[
                ("payments", "warn", "WARN  gateway did not answer within 90 ms, order=1042, try 1 of 2"),
                (
                    "payments",
                    "error",
                    "ERROR gateway timeout, order=1042: java.net.SocketTimeoutException: Read timed out",
                ),
                ("shop-api", "error", "ERROR POST /pay 500 183 ms order=1042 cause=\"payments: 504\""),
            ],
        },
    ),
    (
        "test_refund_twice",
        Plot::Fails {
            message: "AssertionError: expected status 409, got 500\nassert 500 == 409",
            details: "tests/test_checkout.py:131: in test_refund_twice\n    second = shop.refund(order)\n\
                      tests/test_checkout.py:132: AssertionError",
            logs: &[
                (
                    "payments",
                    "error",
                    "ERROR gateway timeout, order=1077: java.net.SocketTimeoutException: Read timed out",
                ),
                ("shop-api", "error", "ERROR POST /refund 500 194 ms order=1077 cause=\"payments: 504\""),
            ],
        },
    ),
    (
        "test_export_orders",
        Plot::Breaks {
            message: "psycopg.OperationalError: connection to server at \"db\" (10.0.3.7), port 5432 failed: too many clients",
            details: "tests/conftest.py:27: in archive\n    return connect(ARCHIVE)\n\
                      E   psycopg.OperationalError: connection to server at \"db\" (10.0.3.7), port 5432 failed: too many clients",
        },
    ),
    ("test_search_while_indexing", Plot::Flaky("AssertionError: 'lamp' not in results after 0.2 s")),
    ("test_pay_by_invoice", Plot::Skipped("needs the staging gateway")),
    ("test_unicode_collation", Plot::Xfails("known: SHOP-311, sorting of umlauts")),
    ("test_reindex_catalogue", Plot::Slow(7_500)),
    (
        "Pay With A Gift Card",
        Plot::Fails {
            message: "Element 'id=pay' not visible after 300 milliseconds.",
            details: "Wait Until Element Is Visible    id=pay    300 ms\n  in resource pay.resource, line 31",
            logs: &[
                ("shop-web", "warn", "WARN  render /pay: waiting for prices, 3 of 4 loaded"),
                ("shop-api", "error", "ERROR GET /giftcards/9c41 500 52 ms cause=\"currency of the card is null\""),
            ],
        },
    ),
    ("Print An Invoice", Plot::Skipped("no printer on this machine")),
    (
        "TestRounding/JPY",
        Plot::Fails {
            message: "rounding_test.go:52: Round(1.5, JPY) = 1, want 2",
            details: "=== RUN   TestRounding/JPY\n    rounding_test.go:52: Round(1.5, JPY) = 1, want 2\n--- FAIL: TestRounding/JPY (0.31s)",
            logs: &[],
        },
    ),
    ("TestReserveUnderLoad", Plot::Slow(4_200)),
    ("TestOracleBackend", Plot::Skipped("ORACLE_DSN is not set")),
];

/// Lines that the application writes while it is tested: source, level, text. `{n}` becomes a number.
pub(super) const CHATTER: &[(&str, &str, &str)] = &[
    ("shop-api", "info", "INFO  GET /products?page={n} 200 12 ms"),
    ("shop-api", "info", "INFO  POST /orders 201 34 ms order=1{n}"),
    ("shop-api", "info", "INFO  POST /login 200 41 ms user=u{n}"),
    ("shop-api", "debug", "DEBUG cache hit price:{n}"),
    ("payments", "info", "INFO  authorised order=1{n} amount=49.90 EUR"),
    ("stock", "info", "INFO  reserved 1 of article {n}"),
    ("stock", "warn", "WARN  article {n} below its minimum of 5"),
    ("db", "info", "LOG:  checkpoint complete: wrote {n} buffers"),
];

/// All that runs at the same time.
pub(super) const STORIES: &[Story] = &[
    Story {
        runner: "robot",
        title: "Robot Framework 7.5",
        command: "robot --outputdir results shop",
        joint: ".",
        workers: &[""],
        pace: (380, 1_120),
        steps: &["Open Shop", "Act", "Check Page"],
        suites: &[
            Suite {
                name: "Shop.Login",
                tags: &["smoke"],
                tests: &["Valid User", "Wrong Password", "Locked User", "Remember Me", "Log Out", "Reset Password"],
            },
            Suite {
                name: "Shop.Basket",
                tags: &["basket"],
                tests: &[
                    "Add Article",
                    "Remove Article",
                    "Change Amount",
                    "Empty Basket",
                    "Keep After Login",
                    "Sold Out Article",
                    "Voucher",
                    "Two Vouchers",
                ],
            },
            Suite {
                name: "Shop.Payment",
                tags: &["payment", "critical"],
                tests: &[
                    "Pay With Card",
                    "Pay With A Gift Card",
                    "Pay By Transfer",
                    "Print An Invoice",
                    "Cancel Payment",
                    "Pay Twice",
                    "Foreign Currency",
                ],
            },
        ],
    },
    Story {
        runner: "pytest",
        title: "pytest 9.2.0",
        command: "pytest -n 4 tests",
        joint: "::",
        workers: &["gw0", "gw1", "gw2", "gw3"],
        pace: (250, 2_000),
        steps: &[],
        suites: &[
            Suite {
                name: "tests/test_search.py",
                tags: &["api"],
                tests: &[
                    "test_reindex_catalogue",
                    "test_search_by_name",
                    "test_search_by_colour",
                    "test_search_nothing",
                    "test_search_while_indexing",
                    "test_unicode_collation",
                    "test_paging[1]",
                    "test_paging[10]",
                    "test_paging[100]",
                    "test_suggestions",
                    "test_synonyms",
                    "test_typos[lmap]",
                    "test_typos[chiar]",
                ],
            },
            Suite {
                name: "tests/test_checkout.py",
                tags: &["api", "payment"],
                tests: &[
                    "test_pay_with_card",
                    "test_pay_with_expired_card",
                    "test_pay_by_invoice",
                    "test_total[EUR]",
                    "test_total[USD]",
                    "test_total[CHF]",
                    "test_discount",
                    "test_free_shipping",
                    "test_refund",
                    "test_refund_twice",
                    "test_receipt_by_mail",
                    "test_order_number_is_unique",
                ],
            },
            Suite {
                name: "tests/test_orders.py",
                tags: &["api", "slow"],
                tests: &[
                    "test_history",
                    "test_history_of_others_is_hidden",
                    "test_cancel",
                    "test_cancel_after_shipping",
                    "test_track_parcel",
                    "test_export_orders",
                    "test_reorder",
                    "test_filter[open]",
                    "test_filter[paid]",
                    "test_filter[sent]",
                    "test_notes",
                ],
            },
            Suite {
                name: "tests/test_account.py",
                tags: &["api", "smoke"],
                tests: &[
                    "test_register",
                    "test_register_twice",
                    "test_change_mail",
                    "test_change_password",
                    "test_delete",
                    "test_addresses[0]",
                    "test_addresses[1]",
                    "test_addresses[20]",
                    "test_consent",
                    "test_avatar",
                ],
            },
        ],
    },
    Story {
        runner: "gotest",
        title: "go1.26",
        command: "go test ./...",
        joint: ".",
        workers: &["", "", ""],
        pace: (200, 2_400),
        steps: &[],
        suites: &[
            Suite {
                name: "shop/price",
                tags: &[],
                tests: &[
                    "TestNet",
                    "TestGross",
                    "TestRounding/EUR",
                    "TestRounding/JPY",
                    "TestRounding/KWD",
                    "TestDiscount",
                    "TestVoucher",
                    "TestNegative",
                    "TestOverflow",
                ],
            },
            Suite {
                name: "shop/stock",
                tags: &[],
                tests: &[
                    "TestReserve",
                    "TestRelease",
                    "TestReserveUnderLoad",
                    "TestMinimum",
                    "TestOracleBackend",
                    "TestImport/csv",
                    "TestImport/xml",
                    "TestImport/empty",
                ],
            },
            Suite {
                name: "shop/cart",
                tags: &[],
                tests: &[
                    "TestAdd",
                    "TestRemove",
                    "TestMerge",
                    "TestExpiry",
                    "TestLimits",
                    "TestJSON",
                    "TestConcurrentAdd",
                ],
            },
            Suite {
                name: "shop/mail",
                tags: &[],
                tests: &[
                    "TestReceipt",
                    "TestBounce",
                    "TestTemplate/de",
                    "TestTemplate/en",
                    "TestTemplate/ja",
                    "TestQueue",
                ],
            },
        ],
    },
];
