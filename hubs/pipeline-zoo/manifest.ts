/** Made by `npm run names:pipeline-zoo`: the models of the Pipeline Zoo, and their files as git knows them. */

/** The last commit: the repository is archived. */
export const COMMIT = 'ee73878abc6fb6d864e59a5cd80016de4fc1d194';

/** Path, id of the git blob, and bytes where they are known. */
export type ZooFile = readonly [path: string, blob: string, size: number | null];

export interface ZooModel {
  readonly license?: string;
  readonly files: readonly ZooFile[];
}

/** By name, as the folders below `storage` are called. */
export const MODELS: Readonly<Record<string, ZooModel>> = {
  dbnet: {
    files: [
      ['FP16/dbnet.bin', '65973ffd5bfd3c464e1ff7c7ae998945c602e74d', null],
      ['FP16/dbnet.xml', 'f098ce2b01084cc64b358a4ec33041de68c680ac', 135409],
      ['FP32/dbnet.bin', '65973ffd5bfd3c464e1ff7c7ae998945c602e74d', null],
      ['FP32/dbnet.xml', 'f098ce2b01084cc64b358a4ec33041de68c680ac', 135409],
      ['LICENSE', 'd645695673349e3947e8e5ae42332d0ac3164cd7', 11358],
      ['dbnet.json', '87a2260a58cafc074baaaa8d080e21c9fb25f794', 470],
    ],
    license: 'apache-2.0',
  },
  dbnet_INT8: {
    files: [
      ['FP16/dbnet.bin', '2b8131d3fbb09b0f4c8fb179cd377df4c3064a42', null],
      ['FP16/dbnet.xml', '92bd2e6378f3c63b3481afeed104ba10933b9eee', 268240],
      ['FP32/dbnet.bin', 'e6a4e78c053d2913ae5ab7467dbd0f4373720d01', null],
      ['FP32/dbnet.xml', 'ca9a4b74d27955ea62b9b723a6fcd126e86ea58f', 268232],
      ['LICENSE', 'd645695673349e3947e8e5ae42332d0ac3164cd7', 11358],
      ['dbnet.json', '87a2260a58cafc074baaaa8d080e21c9fb25f794', 470],
    ],
    license: 'apache-2.0',
  },
  'efficientnet-b0_INT8': {
    files: [
      ['FP16-INT8/efficientnet-b0.bin', '9d4b2c588f8995f415254bffef0d9a3e6897c4e6', null],
      ['FP16-INT8/efficientnet-b0.xml', 'abc1ea33332d199550a3afe78e2f869b469c6642', 702781],
      ['FP32-INT8/efficientnet-b0.bin', 'a953b35ada18b08b049e4336c9072f692ed52a09', null],
      ['FP32-INT8/efficientnet-b0.xml', '55ba77d312d64888bd7a44b92864d119ab1c8572', 703048],
      ['LICENSE', 'e357da3165757072c8216e938f31d40b5258ab40', 11414],
      ['efficientnet-b0.json', '7743767ce9766f135dd94daed857ea1edba13780', 41107],
    ],
    license: 'apache-2.0',
  },
  'efficientnet-b3': {
    files: [
      ['FP16/efficientnet-b3.bin', '58f7de36a52484fe58d149ab4c9480208d02e7ea', null],
      ['FP16/efficientnet-b3.xml', '94bd06fe3962dd6cf35bfb26bd7889b9be363660', 565943],
      ['FP32/efficientnet-b3.bin', 'ad58dc172e73ee225d1960043242f1614fcde70f', null],
      ['FP32/efficientnet-b3.xml', '0e84d69ccc2139555a057882d89cd99ff7003b03', 415766],
      ['LICENSE', 'e357da3165757072c8216e938f31d40b5258ab40', 11414],
      ['efficientnet-b3.json', 'dd171feaee1d8cb0d32b3a3411629b184d5e7806', 40942],
    ],
    license: 'apache-2.0',
  },
  'efficientnet-b3_INT8': {
    files: [
      ['FP16-INT8/efficientnet-b3_INT8.bin', '260ed7c29b9e2b4b6c6c445a6f96c0d9757b7d6a', null],
      ['FP16-INT8/efficientnet-b3_INT8.xml', 'db639d7c62a93f9ab7ddd3213c1a7ba65b58ea4a', 1946662],
      ['FP32-INT8/efficientnet-b3_INT8.bin', '902bfb6828e89ef75c478cf09ee8bc4af04c20fc', null],
      ['FP32-INT8/efficientnet-b3_INT8.xml', 'bf0c5e85269f2aec5bfc7c2c527b7aa1ac4d9d0e', 1342078],
      ['LICENSE', 'e357da3165757072c8216e938f31d40b5258ab40', 11414],
      ['efficientnet-b3.json', 'dd171feaee1d8cb0d32b3a3411629b184d5e7806', 40942],
    ],
    license: 'apache-2.0',
  },
  'horizontal-text-detection-0002': {
    files: [
      ['FP16-INT8/horizontal-text-detection-0002.bin', '73db0fb335bacfeb86c9c8ed7e64e388bb5235c5', 2123144],
      ['FP16-INT8/horizontal-text-detection-0002.xml', '9a63e1cea2b8e34b024980afd166079eb8c14526', 1730219],
      ['LICENSE', 'b2279c71036e3dcd8cd4b26068dd9ecd64825de7', 11353],
      ['horizontal-text-detection-0002.json', '83cdc927c63ac980a8904926f409557e739a56c0', 176],
    ],
    license: 'apache-2.0',
  },
  'resnet-50-tf_INT8': {
    files: [
      ['LICENSE', 'e357da3165757072c8216e938f31d40b5258ab40', 11414],
      ['resnet-50-tf_i8.bin', '042550e973cc928db6b574eb6061b0553be4ea7f', null],
      ['resnet-50-tf_i8.json', 'a306721a899b173d8256bd89b4b9bc5f953fd622', 29723],
      ['resnet-50-tf_i8.labels', 'c05135b15e70701587e7585b96ebcf7684f5e14e', 22691],
      ['resnet-50-tf_i8.xml', '6494b0edc9a979277fa5ca076b35314f1abc4f8b', 417139],
    ],
    license: 'apache-2.0',
  },
  ssd_mobilenet_v1_coco_INT8: {
    files: [
      ['LICENSE', 'e357da3165757072c8216e938f31d40b5258ab40', 11414],
      ['ssd_mobilenet_v1_coco.bin', 'ec55b54dd7b9b386d4745a7babe71e9c6afd5673', null],
      ['ssd_mobilenet_v1_coco.json', '351535086ec6bb0f1cfb26637d670badb1f78824', 2706],
      ['ssd_mobilenet_v1_coco.xml', '88314a6c2e16c93b4c8415f5b1cabf17f7fcc579', 418525],
    ],
    license: 'apache-2.0',
  },
  ssdlite_mobilenet_v2_INT8: {
    files: [
      ['FP16-INT8/ssdlite_mobilenet_v2.bin', '92dc33aa650e34a267b9636ddf3f331d416791f1', null],
      ['FP16-INT8/ssdlite_mobilenet_v2.xml', '019223b682ebb43d21af44f02565303a72d8f81a', 765124],
      ['FP32-INT8/ssdlite_mobilenet_v2.bin', '2c5e93d3748ad0f25eefb1a3d1e7f373367bbd85', null],
      ['FP32-INT8/ssdlite_mobilenet_v2.xml', '7a2a1bd19735b84db4c599ff63250009edbf236c', 765390],
      ['LICENSE', 'e357da3165757072c8216e938f31d40b5258ab40', 11414],
      ['ssdlite_mobilenet_v2.json', '351535086ec6bb0f1cfb26637d670badb1f78824', 2706],
    ],
    license: 'apache-2.0',
  },
  'text-recognition-0012-mod': {
    files: [
      ['FP16-INT8/text-recognition-0012-mod.bin', 'e2e14732111b8f69c7e7f1f3d57772b4595846bf', null],
      ['FP16-INT8/text-recognition-0012-mod.xml', '4142daaac5149bec6562ded96401ca5584dd397d', 239362],
      ['LICENSE', 'b2279c71036e3dcd8cd4b26068dd9ecd64825de7', 11353],
      ['text-recognition-0012-mod.json', '2c0f52db0330dcdffb2caa4ac40b193a30103edf', 241],
    ],
    license: 'apache-2.0',
  },
  'yolo-v4-tf-416_INT8': {
    files: [
      ['FP16-INT8/yolo-v4-tf.bin', 'cb56abf3861c96008149085b5e57e01836c362ca', null],
      ['FP16-INT8/yolo-v4-tf.xml', '9f26f60c53d94f4adee51ee9191506a00213da27', 1161035],
      ['FP32-INT8/yolo-v4-tf.bin', '89ae9790a105ac886f4609d61cea8ad3ad64029a', null],
      ['FP32-INT8/yolo-v4-tf.xml', '8c199d389edb63e9c13c56d1fc52eaa5aa42c325', 1080161],
      ['LICENSE', '9cf106272ac3b56b0c4c80218e8fc10a664ca5f4', 1036],
    ],
    license: 'mit',
  },
  'yolo-v4-tf_INT8': {
    files: [
      ['LICENSE', '9cf106272ac3b56b0c4c80218e8fc10a664ca5f4', 1036],
      ['yolo-v4-tf_INT8.bin', 'ea02528ea565e465e50c6a0ceec66b11b315b984', null],
      ['yolo-v4-tf_INT8.json', '50ce28066c3b692ff4665c225e01af8aedd25f74', 2516],
      ['yolo-v4-tf_INT8.xml', '72041bc03e4c235b2e98514ba94b4f4d0fd30409', 955516],
    ],
    license: 'mit',
  },
  'yolov5m-224': {
    files: [
      ['FP16/yolov5m-224.bin', '34926a0fe70c1a15cc1df18c871b8821062fc7e7', null],
      ['FP16/yolov5m-224.xml', '3d0b2508056e9be386049d5e878f78ed7a856556', 339488],
      ['FP32/yolov5m-224.bin', 'b8e548986ea2d650377dcb9f3a6bc489deaebf23', null],
      ['FP32/yolov5m-224.xml', 'cbf8baa0bdccc01b28494af5d1b1aea1f39cb3ca', 245599],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5m-224_INT8': {
    files: [
      ['FP16/yolov5m-224_INT8.bin', '54bc445bd25c60130800d3e6e57d2c296221768f', null],
      ['FP16/yolov5m-224_INT8.xml', 'a7b4f5199b219545b426c5808409b938f080f981', 574466],
      ['FP32/yolov5m-224_INT8.bin', 'f45b3faebb32d082447365c1532ef1f991277858', null],
      ['FP32/yolov5m-224_INT8.xml', '43836ea768e89706e40f2186e150fb1712037500', 525515],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5m-320': {
    files: [
      ['FP16/yolov5m-320.bin', '59f59504b39a21175d110003cb11ba867bc5ba9d', null],
      ['FP16/yolov5m-320.xml', '5821562f6d73cf944cbd157e3d94bb165fda4a6d', 402911],
      ['FP32/yolov5m-320.bin', 'de909b8a659c10a247451558bb8f95b0525df85c', null],
      ['FP32/yolov5m-320.xml', '8d197e2f47c323d1b13d10591e9292456fc88031', 291141],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5m-320_INT8': {
    files: [
      ['FP16-INT8/yolov5m-320_INT8.bin', '5b66f1a84785105c3c02aabdab817b4984a7d3e9', null],
      ['FP16-INT8/yolov5m-320_INT8.xml', 'f71e63201d3a443746007f9b29cd546fda607552', 700133],
      ['FP32-INT8/yolov5m-320_INT8.bin', '210712637405c60633be4452473e123206de504a', null],
      ['FP32-INT8/yolov5m-320_INT8.xml', '8f78f69b455d8c61da7ef5966985a4e42eb1c22b', 640281],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5m-416': {
    files: [
      ['FP16/yolov5m-416.bin', '59f59504b39a21175d110003cb11ba867bc5ba9d', null],
      ['FP16/yolov5m-416.xml', '2133f60fbaf31733aab42da621929cc9f9cfdecc', 403033],
      ['FP32/yolov5m-416.bin', 'de909b8a659c10a247451558bb8f95b0525df85c', null],
      ['FP32/yolov5m-416.xml', 'fbfbc8472bef53baf55625e71472eef0e4e7a77e', 291263],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5m-416_INT8': {
    files: [
      ['FP16-INT8/yolov5m-416_INT8.bin', 'cec5c829f503b0a04fc2d6fb1feaa914e70b12a5', null],
      ['FP16-INT8/yolov5m-416_INT8.xml', '8283cd2ede690fa87d5b242fcda34c5e0d674613', 700311],
      ['FP32-INT8/yolov5m-416_INT8.bin', 'ccff745a61417a369e924d45e2b17319d2ce9302', null],
      ['FP32-INT8/yolov5m-416_INT8.xml', 'e7055376ba77f04219e83bb0fc6c7f111f5d3a13', 640459],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5m-640': {
    files: [
      ['FP16/yolov5m-640.bin', '34926a0fe70c1a15cc1df18c871b8821062fc7e7', null],
      ['FP16/yolov5m-640.xml', 'b7cffc4885c7eb6251c420e9c6a5dcea18465e7d', 367649],
      ['FP32/yolov5m-640.bin', 'b8e548986ea2d650377dcb9f3a6bc489deaebf23', null],
      ['FP32/yolov5m-640.xml', '9016bd2d9a6dcf64d71f31121dea007970a24a3b', 276469],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5m-640_INT8': {
    files: [
      ['FP16-INT8/yolov5m-640_INT8.bin', 'ae85cc157141a434f39d8cd601e7a51c010c7bd2', null],
      ['FP16-INT8/yolov5m-640_INT8.xml', 'eb466ab875a541ba54df5dd0747367d4895cd947', 591237],
      ['FP32-INT8/yolov5m-640_INT8.bin', '4262ccec16a27e44c9501820f2ee3ce3e1713604', null],
      ['FP32-INT8/yolov5m-640_INT8.xml', '1e0eed443b3aaf56bc47a4c1104cc18cf3aa032a', 675514],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5s-416': {
    files: [
      ['FP16/yolov5s.bin', 'fb4ea5875daa595ddbec1be20e45f32a2815ddb7', null],
      ['FP16/yolov5s.xml', 'f0e65eb17452db487339e125c084078882b57982', 268533],
      ['FP32/yolov5s.bin', 'd0d385e750234d3f56e851b6aa5a0fc4ef01a3cd', null],
      ['FP32/yolov5s.xml', '69f5c608b0aaeed90394a622338de791ca22b6b6', 201860],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
  'yolov5s-416_INT8': {
    files: [
      ['FP16-INT8/yolov5s.bin', '79098b76449c7548699d02d99b84da4bf5d3ef24', null],
      ['FP16-INT8/yolov5s.xml', 'd3465490a44a3d2798eb4b5b08395754c5348088', 517319],
      ['FP32-INT8/yolov5s.bin', '2fe5b57d8bbfe0927fb8c3c28fb4e0ce8db343a0', null],
      ['FP32-INT8/yolov5s.xml', '7fef54e4d854ca993620e4d14e1be23c3d8400bd', 450880],
      ['LICENSE', '8991cdc25ea8fc83444351e044cb91419b9f555c', 35256],
      ['yolo-v5.json', '1946b6ed9adb00ea6257a483e11391fa588a5550', 3126],
    ],
    license: 'gpl-3.0',
  },
};
