// SPDX-License-Identifier: MIT
"use strict";
require("./hook.js").run("post");
