*** Settings ***
Documentation       A shop in 3 suites of 40 tests.
Metadata            Shop    Corner Store
Force Tags          store
