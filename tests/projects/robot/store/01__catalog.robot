*** Settings ***
Library             ../lib/Shop.py
Force Tags          catalog


*** Test Cases ***
Finds Apple
    [Tags]    smoke
    Find    apple    1

Finds Pear
    Find    pear    2

Finds Plum
    Find    plum    3

Finds Quince
    Find    quince    4

Finds Cherry
    Find    cherry    5

Finds Grape
    Find    grape    1

Finds Fig
    [Tags]    smoke
    Find    fig    2

Finds Date
    Find    date    3

Finds Lime
    Find    lime    4

Finds Lemon
    Find    lemon    5

Finds Mango
    Find    mango    1

Finds Papaya
    Find    papaya    2

Finds Melon
    [Tags]    smoke
    Find    melon    3

Finds Kiwi
    Find    kiwi    4

Finds Guava
    Find    guava    5

Finds Peach
    Find    peach    1

Finds Apricot
    Find    apricot    2

Finds Olive
    Find    olive    3

Weighs Apple
    [Tags]    slow
    Weigh    apple    60ms

Weighs Pear
    Weigh    pear    1ms

Weighs Plum
    Weigh    plum    1ms

Weighs Quince
    [Tags]    slow
    Weigh    quince    90ms

Weighs Cherry
    Weigh    cherry    1ms

Weighs Grape
    Weigh    grape    1ms

Weighs Fig
    [Tags]    slow
    Weigh    fig    80ms

Weighs Date
    Weigh    date    1ms

Weighs Lime
    Weigh    lime    1ms

Weighs Lemon
    [Tags]    slow
    Weigh    lemon    70ms

Weighs Mango
    Weigh    mango    1ms

Weighs Papaya
    Weigh    papaya    1ms

Weighs Melon
    [Tags]    slow
    Weigh    melon    60ms

Weighs Kiwi
    Weigh    kiwi    1ms

Weighs Guava
    Weigh    guava    1ms

Weighs Peach
    [Tags]    slow
    Weigh    peach    90ms

Finds Nothing
    [Tags]    bug-7
    Find    dragon fruit    0

Counts Wrong
    ${n} =    Count    plum    2
    Should Be Equal As Integers    ${n}    3    msg=expected 3 plums

Breaks Down
    Fail With    scales 192.168.7.44 are broken: code 0x7f3a

Has No Durian
    Skip    durian is not allowed in here

Waits For Season
    [Tags]    season
    Skip If    True    strawberries come in June

Broken Set Up
    [Setup]    Fail    no shelf
    Log    never reached


*** Keywords ***
Find
    [Arguments]    ${fruit}    ${number}
    FOR    ${i}    IN RANGE    2
        Log    looking for ${fruit}, shelf ${i}
    END
    ${n} =    Count    ${fruit}    ${number}
    IF    ${n} == 0    Fail    there is no ${fruit}
    Should Be True    ${n} > 0

Weigh
    [Arguments]    ${fruit}    ${time}
    Log    putting ${fruit} on the scales
    Sleep    ${time}
    Log    ${fruit} weighs 100 g    level=DEBUG
