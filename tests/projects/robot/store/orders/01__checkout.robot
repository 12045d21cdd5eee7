*** Settings ***
Library             ../../lib/Shop.py
Suite Setup         Log    checkout opens
Suite Teardown      Log    checkout closes
Test Setup          Log    next customer
Test Teardown       Log    good bye
Force Tags          checkout


*** Test Cases ***
Order 1
    [Tags]    payments    smoke
    Pay    1    20ms

Order 2
    Pay    2    100ms

Order 3
    [Tags]    payments
    Pay    3    10ms

Order 4
    Pay    4    5ms

Order 5
    [Tags]    payments
    Pay    5    20ms

Order 6
    Pay    6    100ms

Order 7
    [Tags]    payments
    Pay    7    10ms

Order 8
    Pay    8    5ms

Order 9
    [Tags]    payments    smoke
    Pay    9    20ms

Order 10
    Pay    10    100ms

Order 11
    [Tags]    payments
    Pay    11    10ms

Order 12
    Pay    12    5ms

Order 13
    [Tags]    payments
    Pay    13    20ms

Order 14
    Pay    14    100ms

Order 15
    [Tags]    payments
    Pay    15    10ms

Order 16
    Pay    16    5ms

Order 17
    [Tags]    payments    smoke
    Pay    17    20ms

Order 18
    Pay    18    100ms

Order 19
    [Tags]    payments
    Pay    19    10ms

Order 20
    Pay    20    5ms

Order 21
    [Tags]    payments
    Pay    21    20ms

Order 22
    Pay    22    100ms

Order 23
    [Tags]    payments
    Pay    23    10ms

Order 24
    Pay    24    5ms

Order 25
    [Tags]    payments    smoke
    Pay    25    20ms

Order 26
    Pay    26    100ms

Order 27
    [Tags]    payments
    Pay    27    10ms

Order 28
    Pay    28    5ms

Order 29
    [Tags]    payments
    Pay    29    20ms

Order 30
    Pay    30    100ms

Order 31
    [Tags]    payments
    Pay    31    10ms

Order 32
    Pay    32    5ms

Order 33
    [Tags]    payments    smoke
    Pay    33    20ms

Order With Empty Purse
    [Tags]    payments
    Pay    0    1ms

Order Twice
    Pay    3    1ms
    Fail    order 7c9e6679-7425-40de-944b-e07fc1f90ae7 was sent twice

Order From Closed Bank
    [Tags]    payments    slow
    Sleep    200ms
    Run Keyword And Continue On Failure    Fail    first bank is closed
    Fail    second bank is closed

Order By Fax
    Skip    nobody has a fax

Order By Post
    Skip    no stamps left

Order With Broken Tear Down
    Pay    4    1ms
    [Teardown]    Fail    till did not close

Order With Broken Set Up
    [Setup]    Fail With    till did not open
    Pay    5    1ms


*** Keywords ***
Pay
    [Arguments]    ${amount}    ${time}
    Log    paying ${amount}
    Sleep    ${time}
    TRY
        Should Be True    ${amount} > 0    purse is empty
    EXCEPT    purse is *    type=GLOB
        Fail    payment of ${amount} refused
    END
